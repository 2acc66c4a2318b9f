"""The program: HTTP edge, wiring, settings, observability, commands."""
