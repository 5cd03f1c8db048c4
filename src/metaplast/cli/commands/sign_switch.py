"""Measure the cost of sign flips in a trained network: how much the training loss increases, by size of |W^h|.

    metaplast train experiment=sign_switch hydra.run.dir=outputs/sign_switch
    metaplast sign-switch outputs/sign_switch        # results go to the run's directory
    metaplast sign-switch outputs/train/DATE/TIME --draws 20 --switched 200 400 50 --out outputs/switched

Weights are binned by |W^h| / max|W^h|, and the signs of random batches of each bin are flipped. A layer passes with a
rank correlation of bin and mean increase of at least 0.9. Details: src/metaplast/studies/sign_flip.py.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaplast.cli.script import OneLineParser, script, whole
from metaplast.errors import UserError
from metaplast.io import write_text
from metaplast.runs.names import CONFIG
from metaplast.system import yield_cores

if TYPE_CHECKING:
    from metaplast.studies.sign_flip import SwitchedLayer


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN_DIR", help="directory of a completed run")
    add("--bins", type=whole(2, 1000), default=15, metavar="N", help="number of bins of |W^h| (default 15)")
    add("--draws", type=whole(2, 100_000), default=100, metavar="N", help="batches drawn from each bin (default 100)")
    add(
        "--switched",
        type=whole(1, 10**9),
        nargs="+",
        metavar="N",
        help="weights flipped at once, one number per layer (default 1000, 2000 in middle layers, 100 in the last)",
    )
    add(
        "--images",
        type=whole(2, 10**9),
        default=5000,
        metavar="N",
        help="number of training images on which the loss is measured (default 5000)",
    )
    add(
        "--statistics",
        choices=("batch", "fixed"),
        default="batch",
        help="statistics of batch normalization: of these images with the flipped weights, as in training (batch, the "
        "default), or with the original weights (fixed)",
    )
    add("--seed", type=whole(0, 2**32 - 1), default=0, metavar="N", help="seed of the draws (default 0)")
    add("--threads", type=whole(1, 1024), default=1, metavar="N", help="number of threads (default 1)")
    add("--data-dir", type=Path, metavar="DIR", help="folder of the data sets (default: that of the run)")
    add(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="a scenario or model of your own that config.yaml may name",
    )
    add("--out", type=Path, metavar="DIR", help="folder of the results (default: RUN_DIR)")
    return parser.parse_args(argv)


def measure(arguments: argparse.Namespace) -> "list[SwitchedLayer]":
    """Load the run and flip signs in each of its layers, with a progress line."""
    yield_cores()
    import numpy as np
    import torch

    from metaplast.nn import TaskCrossEntropy, hidden_weights
    from metaplast.scenarios import task_tensors
    from metaplast.studies.sign_flip import CROSS_ENTROPY, batch_sizes, measure_layer, prepare
    from metaplast.training.finished_run import load_finished_run

    torch.set_num_threads(arguments.threads)
    run = load_finished_run(arguments.run_dir, arguments.data_dir, arguments.trust)
    names = list(hidden_weights(run.network))
    sizes = arguments.switched or batch_sizes(len(names))
    if len(sizes) != len(names):
        raise UserError(f"--switched: expected one number for each of {len(names)} binary layers, got {len(sizes)}")
    # The current normalization is that of the last task, so the loss is taken on its data.
    x, y = task_tensors(run.scenario.benchmark.train_stream[-1]).batch(slice(0, arguments.images))
    network = prepare(run.network, x, arguments.statistics)
    classes = run.scenario.classes_of_task
    loss = CROSS_ENTROPY if classes is None else TaskCrossEntropy(run.scenario.n_classes, classes)
    rng = np.random.default_rng(arguments.seed)
    return [
        measure_layer(network, name, x, y, n, rng, arguments.bins, arguments.draws, loss, progress(name))
        for name, n in zip(names, sizes, strict=True)
    ]


def progress(name: str) -> Callable[[int, int], None]:
    """A function that prints how many bins of a layer are done: an updating line on a terminal, else one at the end."""

    def say(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{name}: bin {done} of {of}", end="\n" if done == of else "", file=sys.stderr, flush=True)
        elif done == of:
            print(f"{name}: {of} bins done", file=sys.stderr, flush=True)

    return say


def table(layers: "Sequence[SwitchedLayer]") -> str:
    """The table of the layers, and how many passed."""
    passed = sum(layer.passed for layer in layers)
    return "\n".join(
        [
            "layer       loss  max|W^h|  full bins  rank(full bins)  rank(all bins)  passed",
            *(
                f"{layer.name:<8} {layer.loss:>7.4f}  {layer.largest:>8.2f}  {layer.full.sum():>2} of "
                f"{len(layer.full):>2}  {layer.rank_correlation:>15.3f}  {layer.rank_correlation_of_all:>14.3f}"
                f"  {'yes' if layer.passed else 'no':>6}"
                for layer in layers
            ),
            "full bins: those with more weights than are flipped at once. Needed: rank(full bins) ≥ 0.9.",
            f"Passed in {passed} of {len(layers)} layers.",
        ]
    )


def save(arguments: argparse.Namespace, layers: "Sequence[SwitchedLayer]", folder: Path) -> list[Path]:
    """Write the figure, the table of bins and the numbers (null where undefined); return their paths."""
    from metaplast.report.figures.style import save_figure
    from metaplast.studies.sign_flip import draw_sign_switch

    picture, bins, numbers = (folder / f"sign_switch.{suffix}" for suffix in ("png", "csv", "json"))
    title = f"Cost of a sign flip by size of the hidden weight   {arguments.run_dir}"
    save_figure(picture, draw_sign_switch(layers, title), dpi=150)
    rows = [
        f"{layer.name},{b},{layer.center[b]},{layer.count[b]},{layer.switched[b]},{layer.draws[b]},"
        f"{_text(layer.mean[b])},{_text(layer.spread[b])}"
        for layer in layers
        for b in range(len(layer.count))
    ]
    write_text(bins, "\n".join(["layer,bin,center,count,switched,draws,mean_increase,spread", *rows]) + "\n")
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
    content = {
        "settings": settings,
        "passed": all(layer.passed for layer in layers),
        "layers": [
            {
                "layer": layer.name,
                "loss": layer.loss,
                "largest_hidden_weight": layer.largest,
                "full_bins": int(layer.full.sum()),
                "rank_correlation": _defined(layer.rank_correlation),
                "rank_correlation_of_all_bins": _defined(layer.rank_correlation_of_all),
                "passed": layer.passed,
            }
            for layer in layers
        ],
    }
    write_text(numbers, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return [picture, bins, numbers]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def run(arguments: argparse.Namespace) -> None:
    """Measure, write the results and print the table."""
    folder = arguments.out or arguments.run_dir
    if not (arguments.run_dir / CONFIG).is_file():  # before torch is imported
        raise UserError(f"RUN_DIR={arguments.run_dir}: expected the directory of a run, got one without {CONFIG}")
    if arguments.out is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {folder}: expected a folder that can be made, got {error.strerror}") from error
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: expected a folder that can be written to, got no permission")
    layers = measure(arguments)
    paths = save(arguments, layers, folder)
    print(table(layers))
    print("Written: " + ", ".join(map(str, paths)))


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(parse(argv))
