"""The same dispatcher on a virtual clock."""

from router.sim.loop import VirtualLoop

__all__ = ["VirtualLoop"]
