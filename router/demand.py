"""What a call will probably hold: input + 2 x output tokens (VTC, OSDI'24: an output token costs about two of input)."""

from __future__ import annotations

from typing import NamedTuple

from providers import Request
from providers.prompt import output_limit, prompt_tokens
from router.types import Route

# Before a route's answers have shown how long they are.
USUAL_OUTPUT = 256
OUTPUT_WEIGHT = 2
OUTPUT_QUANTILE = 0.75


class Demand(NamedTuple):
    """``prompt`` in tokens; ``tokens`` is what the call holds while it runs."""

    prompt: int
    tokens: int


def demand(request: Request, route: Route) -> Demand:
    """The smaller of the client's own limit and of three quarters of the route's latest answers counts as output."""
    usual = route.outputs.quantile(OUTPUT_QUANTILE)
    output = USUAL_OUTPUT if usual is None else int(usual)
    limit = output_limit(request)
    if limit is not None and limit < output:
        output = limit
    prompt = prompt_tokens(request)
    return Demand(prompt, prompt + OUTPUT_WEIGHT * output)
