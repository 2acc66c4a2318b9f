"""Service laws: a duration or a length, drawn from a distribution. Chance is an argument."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Any

SHAPES = {
    "lognormal": "[median, sigma]",
    "uniform": "[low, high]",
    "exponential": "mean",
    "normal": "[mean, standard deviation], cut at 0",
    "pareto": "[least, alpha]",
}
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Law:
    """``shape`` is "constant" or a key of SHAPES; draws are never negative."""

    shape: str
    a: float
    b: float = 0.0

    def draw(self, rng: Random) -> float:
        return self.at(rng.random())

    def at(self, chance: float) -> float:
        """What is not exceeded with probability ``chance``, in [0, 1)."""
        match self.shape:
            case "constant":
                return self.a
            case "lognormal":
                return self.a * math.exp(self.b * _normal(chance))
            case "uniform":
                return self.a + (self.b - self.a) * chance
            case "exponential":
                return -self.a * math.log1p(-chance)
            case "normal":
                return max(0.0, self.a + self.b * _normal(chance))
            case _:
                return self.a * math.pow(1.0 - chance, -1.0 / self.b)

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
                if shape == "pareto" and numbers[1] < 0.5:
                    raise ValueError("pareto: an alpha below 0.5 has a tail beyond the age of the universe")
                return Law(str(shape), *(float(number) for number in numbers))
        allowed = ", ".join(f"{{{shape}: {parameters}}}" for shape, parameters in SHAPES.items())
        raise ValueError(f"not a distribution; allowed: a number >= 0, {allowed}")


def _normal(chance: float) -> float:
    """Of a standard normal distribution; at most 8.2 deviations off."""
    return _NORMAL.inv_cdf(max(chance, 2.0**-53))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
