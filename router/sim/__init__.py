"""The same dispatcher on a virtual clock."""

from router.sim.loop import VirtualLoop, run

__all__ = ["VirtualLoop", "run"]
