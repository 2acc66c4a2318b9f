"""The routing core: the life of a call.

    1. The edge makes a ``Call`` and gives it to ``Dispatcher.open``.
    2. The route of its model is looked up; the gate lets it in, has it wait, or turns it away (``router.gate``).
    3. A target is chosen: filter, score, pick (``router.select``). What is ejected, drained or full is filtered out.
    4. Rules decide whether there is another attempt, the target's guards whether it may take it (``router.policies``).
       Each admission returns a ticket.
    5. The provider opens a stream; it is held back until the first event that bears content.
    6. A failure before that settles the tickets and leads back to 3.
    7. With content in hand, the ``Reply`` owns the stream and the tickets: the commit point.
    8. The edge forwards its chunks; its end, however it comes, settles the tickets once.

What has been decided, and why, is in its ``Decision``; what has happened leaves as ``router.events``.
No HTTP, no environment, no clock but the event loop's, no chance but the request id's.
"""

from router.config import Backoff, Retry, Timeouts
from router.decision import Decision
from router.dispatch import Dispatcher
from router.errors import RouterError
from router.reply import Reply
from router.routes import Routes
from router.types import Attempt, Call, Live, Pin, Priority, Route, Target

__all__ = [
    "Attempt",
    "Backoff",
    "Call",
    "Decision",
    "Dispatcher",
    "Live",
    "Pin",
    "Priority",
    "Reply",
    "Retry",
    "Route",
    "RouterError",
    "Routes",
    "Target",
    "Timeouts",
]
