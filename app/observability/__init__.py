"""What the program says about itself. Nothing but wiring and the edge imports it."""
