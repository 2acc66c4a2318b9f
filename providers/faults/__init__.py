"""Every way in which a provider has been seen to fail, to be had on purpose: one small file and one row each.

    Dispatcher ─► Faulty ─► fault ─┬─► raises, or waits, in the provider's place             (Refuses)
                                   └─► upstream ─► Original ─► play ─► Line ─► our HTTP client (Tampers)

A fault stands where the network does, below every policy, so that all of them see it. What it does to an answer it does to
bytes: they cross a pair of real sockets, and the client that reads the real upstreams reads them. Nothing here chooses
whom a fault hits, when, or for how long: that is ``router.chaos``.
"""

from providers.faults.hit import Hit, Refuses, Tampers
from providers.faults.hold import Hold
from providers.faults.line import Line
from providers.faults.original import Original
from providers.faults.registry import FAULTS, Fault, Per, Row

__all__ = ["FAULTS", "Fault", "Hit", "Hold", "Line", "Original", "Per", "Refuses", "Row", "Tampers"]
