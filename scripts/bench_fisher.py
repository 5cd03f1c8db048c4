"""Time of the exact diagonal Fisher information against the loop over batches of one, on one thread.

python scripts/bench_fisher.py
"""

import json
import os
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from metaplast.one_line_parser import OneLineParser
from metaplast.script import script

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 500


def loop_over_samples(network: "nn.Module", x: "Tensor", y: "Tensor") -> "dict[str, Tensor]":
    """Empirical Fisher information by a backward pass a sample."""
    import torch
    from torch.nn import functional as F

    network.eval()
    total = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    for x_n, y_n in zip(x.split(1), y.split(1), strict=True):  # type: ignore[no-untyped-call]
        network.zero_grad()
        F.cross_entropy(network(x_n), y_n).backward()  # type: ignore[no-untyped-call]
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad.square()
    return {name: tensor / len(x) for name, tensor in total.items()}


def measure(n_samples: int = 5000, hidden: tuple[int, ...] = (512, 512)) -> dict[str, float]:
    """Seconds of both ways on a 784-hidden-10 binary network, their ratio and their largest relative difference."""
    import torch

    from metaplast.nn import bnn, set_population_statistics
    from metaplast.strategies.fisher import diagonal_fisher

    torch.manual_seed(0)
    network = bnn((1, 28, 28), 10, hidden=hidden)
    # Sums of such pixels have no rounding errors, which would turn the sign of an activation here and there.
    x, y = torch.randint(256, (n_samples, 1, 28, 28)) / 256, torch.randint(10, (n_samples,))
    set_population_statistics(network, lambda: [x])
    diagonal_fisher(network, [(x[:BATCH], y[:BATCH])])  # what happens only once

    start = perf_counter()
    batches = zip(x.split(BATCH), y.split(BATCH), strict=True)  # type: ignore[no-untyped-call]
    exact = diagonal_fisher(network, batches)
    between = perf_counter()
    loop = loop_over_samples(network, x, y)
    end = perf_counter()
    differences = [((exact[name] - loop[name]).norm() / loop[name].norm()).item() for name in loop]
    return {
        "exact_seconds": between - start,
        "loop_seconds": end - between,
        "ratio": (end - between) / (between - start),
        "relative_difference": max(differences),
    }


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print the numbers."""
    OneLineParser(__doc__).parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch: spinning threads would time the neighbours
    print(json.dumps(measure(), indent=2))


if __name__ == "__main__":
    sys.exit(main())
