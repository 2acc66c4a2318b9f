"""The admin API: a port of its own, a token of its own, and nothing of it on the data port.

access ─► FastAPI ─► targets, weights     what operators change; audit keeps who, what and why
                  ├► requests, explain    what has been decided, and what would be
                  ├► events               the feed
                  └► config, experiments
"""
