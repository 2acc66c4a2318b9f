"""Service laws: a duration or a length, drawn from a distribution. Chance is an argument."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

SHAPES = {
    "lognormal": "[median, sigma]",
    "uniform": "[low, high]",
    "exponential": "mean",
    "normal": "[mean, standard deviation], cut at 0",
}


@dataclass(frozen=True, slots=True)
class Law:
    """``shape`` is "constant" or a key of SHAPES; draws are never negative."""

    shape: str
    a: float
    b: float = 0.0

    def draw(self, rng: Random) -> float:
        match self.shape:
            case "lognormal":
                return self.a * math.exp(rng.gauss(0.0, self.b))
            case "uniform":
                return rng.uniform(self.a, self.b)
            case "exponential":
                return rng.expovariate(1 / self.a) if self.a else 0.0
            case "normal":
                return max(0.0, rng.gauss(self.a, self.b))
            case _:
                return self.a

    @staticmethod
    def parse(value: Any) -> Law:
        """A number, or a mapping of one shape to its parameters. Raises ValueError that says what is allowed."""
        if isinstance(value, Law):
            return value
        if _is_number(value):
            return Law("constant", float(value))
        if isinstance(value, Mapping) and len(value) == 1:
            ((shape, parameters),) = value.items()
            numbers = parameters if isinstance(parameters, list) else [parameters]
            wanted = 1 if shape == "exponential" else 2
            if shape in SHAPES and len(numbers) == wanted and all(_is_number(number) for number in numbers):
                if shape == "uniform" and numbers[0] > numbers[1]:
                    raise ValueError("uniform: low is above high")
                if shape == "lognormal" and numbers[1] > 5:
                    raise ValueError("lognormal: a sigma above 5 spans more than the age of the universe")
                return Law(str(shape), *(float(number) for number in numbers))
        allowed = ", ".join(f"{{{shape}: {parameters}}}" for shape, parameters in SHAPES.items())
        raise ValueError(f"not a distribution; allowed: a number >= 0, {allowed}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
