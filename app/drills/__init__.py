"""Drills: a scenario file is read, run on the virtual clock through the unchanged gateway, and held to what it expects.

file ─► Draft ─ read_as ─ check ─► Plan ─► run ─► Seen ─► measures ─► Results ─► table, journal
"""
