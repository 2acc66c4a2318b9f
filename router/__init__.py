"""The routing core: the life of a call.

    1. The edge makes a ``Call`` and gives it to ``Dispatcher.open``.
    2. The route of its model is looked up; a target is chosen: filter, score, pick (``router.select``).
    3. Rules decide whether there is another attempt, guards whether its target may take it (``router.policies``).
       Each admission returns a ticket.
    4. The provider opens a stream; it is held back until the first event that bears content.
    5. A failure before that settles the tickets and leads back to 2.
    6. With content in hand, the ``Reply`` owns the stream and the tickets: the commit point.
    7. The edge forwards its chunks; its end, however it comes, settles the tickets once.

No HTTP, no environment, no clock but the event loop's, no chance but the request id's.
"""

from router.config import Backoff, Retry, Timeouts
from router.dispatch import Dispatcher
from router.errors import RouterError
from router.reply import Reply, route_reason
from router.routes import Routes
from router.types import Attempt, Call, Pin, Route, Target

__all__ = [
    "Attempt",
    "Backoff",
    "Call",
    "Dispatcher",
    "Pin",
    "Reply",
    "Retry",
    "Route",
    "RouterError",
    "Routes",
    "Target",
    "Timeouts",
    "route_reason",
]
