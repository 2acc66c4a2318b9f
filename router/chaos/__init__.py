"""Who is hit by which fault, when, and for how long: chosen by hash, bounded in every way, and told to everybody.

Chaos ── rules that act ──► Faulty (one for each provider) ── chosen ──► providers.faults
  ▲ add, stop, renew; time, the dead man's switch and the guard stop by themselves
"""

from router.chaos.chaos import Acting, Chaos, FaultRefused, Stopped
from router.chaos.faulty import Faulty, faulty
from router.chaos.rule import Guard, Rule

__all__ = ["Acting", "Chaos", "FaultRefused", "Faulty", "Guard", "Rule", "Stopped", "faulty"]
