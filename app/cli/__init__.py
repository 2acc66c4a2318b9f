"""The commands. Each imports what it needs when it is called, so that every one of them starts fast."""
