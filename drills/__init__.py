"""The scenarios that ship. There is no code here: ``app.drills`` reads and runs them."""
