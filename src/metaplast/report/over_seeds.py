"""Mean and spread of a quantity over seeds, and how they are said."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Spread(NamedTuple):
    """A quantity over seeds, of any shape."""

    mean: Tensor
    sd: Tensor
    """Standard deviation of a sample (n − 1); NaN for one seed."""
    n: int
    """Seeds."""


def over_seeds(values: Iterable[tuple[Any, Tensor]]) -> Spread:
    """Mean and spread of what runs came to, given as (seed, quantity), all quantities of one shape.

    Runs of one seed are averaged first: they are no two draws. Without any run everything is NaN, a number.
    """
    seeds: dict[Any, list[Tensor]] = {}
    for seed, value in values:
        seeds.setdefault(seed, []).append(value)
    if not seeds:
        return Spread(torch.tensor(math.nan), torch.tensor(math.nan), 0)
    stack = torch.stack([torch.stack(alike).mean(0) for alike in seeds.values()])
    sd = stack.std(0) if len(stack) > 1 else torch.full_like(stack[0], math.nan)
    return Spread(stack.mean(0), sd, len(stack))


def numbers(value: Any) -> Tensor:
    """A number or nested lists of them, as float64; None becomes NaN."""
    if isinstance(value, list):
        return torch.stack([numbers(item) for item in value])
    return torch.tensor(math.nan if value is None else value, dtype=torch.float64)


def percent(spread: Spread) -> str:
    """A fraction over seeds in percent: the mean, and ± its standard deviation where there is one; a dash for none.

    >>> one = torch.tensor(0.5)
    >>> percent(Spread(torch.tensor(0.8234), torch.tensor(0.0101), 3)), percent(Spread(one, torch.tensor(torch.nan), 1))
    ('82.3 ± 1.0', '50.0')
    """
    mean, sd = 100 * float(spread.mean), 100 * float(spread.sd)
    if math.isnan(mean):
        return "–"
    words = f"{round(mean, 1) + 0.0:.1f}".replace("-", "−")  # no minus before a zero
    return words if math.isnan(sd) else f"{words} ± {sd:.1f}"
