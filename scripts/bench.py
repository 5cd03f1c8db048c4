"""Benchmarks. Each compares alternatives within one run, since absolute times on a shared machine vary.

    python scripts/bench.py                 all of them, about 15 minutes on 2 cores
    python scripts/bench.py step            the optimizer step: literal, compiled, torch's Adam
    python scripts/bench.py epoch           an epoch on MNIST through the platform, and through Avalanche's loop
    python scripts/bench.py side-by-side    two trainings at once on the same cores, and one alone
    python scripts/bench.py sweep           a sweep of small networks, two jobs at once and one at a time
    python scripts/bench.py fisher          the exact diagonal Fisher information, and one backward pass per sample

Prints a table of each and writes the numbers to --out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from metaplast.cli.script import OneLineParser, script, whole
from metaplast.errors import UserError
from metaplast.io import check_target, write_text

ROOT = Path(__file__).resolve().parents[1]
Numbers = dict[str, float]
HIDDEN = [512, 512]
SWEEP_JOBS = 16
FISHER_SAMPLES = 5000
STEP_SIZES = (401_408, 16_777_216)
"""784 × 512, the first layer of the default network, and 4096 × 4096, the second of the paper's."""


def bench_step(rounds: int) -> Numbers:
    """Milliseconds of one step on one weight, by size."""
    import torch
    from torch import nn

    from metaplast.optim import MetaplasticAdam

    numbers: Numbers = {}
    for size in STEP_SIZES:
        weight = nn.Parameter(torch.randn(size // 512, 512))
        weight.grad = torch.randn_like(weight)
        steps: dict[str, Callable[[], Any]] = {
            "literal": MetaplasticAdam([weight], m=1.35, compiled=False).step,
            "compiled": MetaplasticAdam([weight], m=1.35, compiled=True).step,
            "torch.optim.Adam": torch.optim.Adam([weight]).step,
            "torch.optim.Adam, fused": torch.optim.Adam([weight], fused=True).step,
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds + 1):
            for name, step in steps.items():
                times[name].append(seconds(step))
        for name in steps:
            numbers[f"{size:,} weights, {name}, ms"] = 1000 * median(times[name][1:])  # the first round compiles
    return numbers


def bench_epoch(rounds: int) -> Numbers:
    """Seconds of training an epoch of MNIST at 784-512-512-10, batch 100: ours and Avalanche's loop, alternating.

    The result is the median of the ratios, since the speed of the machine varies from round to round.
    """
    ours, theirs = [], []
    train_avalanche = avalanche_epoch()
    for _ in range(rounds):
        ours.append(1 / epochs_per_second(run_command(epochs=3)))
        theirs.append(train_avalanche())
    return {
        "metaplast, bnn, s": median(ours),
        "Avalanche's Naive, its MLP, s": median(theirs),
        "times faster": median(avalanche / metaplast for avalanche, metaplast in zip(theirs, ours, strict=True)),
    }


def bench_side_by_side(rounds: int) -> Numbers:
    """Epochs a second of one training alone, and of two at once together, all free to use every core."""
    alone, together = [], []
    for _ in range(rounds):
        alone.append(epochs_per_second(run_command(epochs=4)))
        pair = [run_command(epochs=4) for _ in range(2)]
        together.append(sum(epochs_per_second(process) for process in pair))
    return {
        "one alone, epochs/s": median(alone),
        "two at once together, epochs/s": median(together),
        "ratio": median(together) / median(alone),
    }


def bench_sweep(rounds: int) -> Numbers:
    """Jobs a minute of a sweep of 16 small networks on permuted digits, from the command to its page.

    Two jobs at once, one at a time, and Hydra's own launcher, which runs jobs in its own process, alternating.
    """
    launchers = {
        "two at once": ["hydra.launcher.n_jobs=2"],
        "one at once": ["hydra.launcher.n_jobs=1"],
        "hydra/launcher=basic": ["hydra/launcher=basic"],
    }
    minutes: dict[str, list[float]] = {name: [] for name in launchers}
    for _ in range(rounds):
        for name, settings in launchers.items():
            minutes[name].append(seconds(lambda: run_sweep(settings)) / 60)  # noqa: B023 (called at once)
    rates = {f"{name}, jobs/min": SWEEP_JOBS / median(times) for name, times in minutes.items()}
    pairs = {name: [other / two for other, two in zip(minutes[name], minutes["two at once"], strict=True)]
             for name in launchers if name != "two at once"}  # fmt: skip
    return {**rates, **{f"two at once over {name}": median(ratios) for name, ratios in pairs.items()}}


def run_sweep(settings: Sequence[str]) -> None:
    """Run the user's command on a sweep of small networks."""
    sweep_dir = Path(tempfile.mkdtemp(prefix="metaplast-bench-")) / "sweep"
    small = ["scenario=pdigits", "epochs_per_task=10", "model.hidden=[64]", "logger=none", "trainer=cpu"]
    jobs = ["m=0,1.35", f"seed=range(0,{SWEEP_JOBS // 2})", f"hydra.sweep.dir={sweep_dir}"]
    command = [sys.executable, str(ROOT / "src" / "train.py"), "-m", *small, *jobs, *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def avalanche_epoch() -> Callable[[], float]:
    """A function that trains one epoch with Avalanche's loop on its own permuted MNIST, and returns its seconds."""
    import torch
    from avalanche.benchmarks.classic import PermutedMNIST
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    from metaplast.data import load_mnist

    load_mnist(ROOT / "data", train=True)  # downloads the files if needed
    root = Path(tempfile.mkdtemp(prefix="metaplast-bench-"))
    (root / "MNIST").mkdir()
    (root / "MNIST" / "raw").symlink_to(ROOT / "data" / "mnist")  # where torchvision expects them
    experience = PermutedMNIST(n_experiences=1, dataset_root=root).train_stream[0]
    network = SimpleMLP(num_classes=10, hidden_size=HIDDEN[0], hidden_layers=len(HIDDEN), drop_rate=0)
    strategy = Naive(
        model=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-3),
        criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=100,
        train_epochs=1,
        evaluator=EvaluationPlugin(loggers=[]),
    )
    return lambda: seconds(lambda: strategy.train(experience, num_workers=0))


def run_command(epochs: int) -> tuple["subprocess.Popen[bytes]", Path]:
    """Start the user's command on one task of permuted MNIST, with all files that a run writes."""
    run_dir = Path(tempfile.mkdtemp(prefix="metaplast-bench-")) / "run"
    settings = [
        "scenario.n_tasks=1",
        f"epochs_per_task={epochs}",
        f"model.hidden={HIDDEN}".replace(" ", ""),
        f"data_dir={ROOT / 'data'}",
        "logger=none",
        "trainer=cpu",
        f"hydra.run.dir={run_dir}",
    ]
    command = [sys.executable, str(ROOT / "src" / "train.py"), *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL), run_dir


def epochs_per_second(run: tuple["subprocess.Popen[bytes]", Path]) -> float:
    """Wait for a run, and read its training speed from metrics.csv; without the first epoch, which compiles."""
    from metaplast.runs.names import METRICS
    from metaplast.runs.tables import read_metrics

    process, run_dir = run
    if process.wait() != 0:
        raise SystemExit(f"the run in {run_dir} failed")
    ends = [row["seconds"] for row in read_metrics(run_dir / METRICS)]
    return (len(ends) - 1) / (ends[-1] - ends[0])


def bench_fisher(rounds: int) -> Numbers:
    """Seconds of the Fisher information of 784-512-512-10 from 5,000 samples, one thread, by products and by a loop."""
    import torch

    from metaplast.nn import bnn, set_population_statistics
    from metaplast.strategies.fisher import diagonal_fisher

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = bnn((1, 28, 28), 10, hidden=HIDDEN)
    # Sums of such pixels are exact; rounding errors could flip the sign of an activation.
    x, y = torch.randint(256, (FISHER_SAMPLES, 1, 28, 28)) / 256, torch.randint(10, (FISHER_SAMPLES,))
    set_population_statistics(network, lambda: [x])
    network.eval()

    def loop() -> dict[str, torch.Tensor]:
        total = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
        for x_n, y_n in zip(x.split(1), y.split(1), strict=True):  # type: ignore[no-untyped-call]
            network.zero_grad()
            torch.nn.functional.cross_entropy(network(x_n), y_n).backward()  # type: ignore[no-untyped-call]
            for name, parameter in network.named_parameters():
                assert parameter.grad is not None
                total[name] += parameter.grad.square()
        return {name: tensor / FISHER_SAMPLES for name, tensor in total.items()}

    def product() -> dict[str, torch.Tensor]:
        return diagonal_fisher(network, zip(x.split(500), y.split(500), strict=True))  # type: ignore[no-untyped-call]

    exact, expected = product(), loop()
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(seconds(product))
        theirs.append(seconds(loop))
    return {
        "one product, s": median(ours),
        "one backward pass per sample, s": median(theirs),
        "times faster": median(theirs) / median(ours),
        "largest relative difference": max(
            float((exact[name] - tensor).norm() / tensor.norm()) for name, tensor in expected.items()
        ),
    }


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


BENCHES: dict[str, Callable[[int], Numbers]] = {
    "step": bench_step,
    "epoch": bench_epoch,
    "side-by-side": bench_side_by_side,
    "sweep": bench_sweep,
    "fisher": bench_fisher,
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("benches", nargs="*", metavar="BENCH", help=f"{', '.join(BENCHES)} (default: all)")
    add(
        "--rounds", type=whole(1, 1000), default=3, metavar="N", help="rounds, of which the median is taken (default 3)"
    )
    add(
        "--out",
        type=Path,
        default=ROOT / "outputs" / "bench.json",
        metavar="FILE",
        help="file of the results (default outputs/bench.json)",
    )
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    if unknown := [name for name in arguments.benches if name not in BENCHES]:
        raise UserError(f"BENCH={unknown[0]}: expected one of {', '.join(BENCHES)}")
    check_target("--out", arguments.out)
    results: dict[str, Numbers] = {}
    for name in arguments.benches or BENCHES:
        print(f"\n{name}: {BENCHES[name].__doc__}", flush=True)
        results[name] = BENCHES[name](arguments.rounds)
        for what, number in results[name].items():
            print(f"  {what:48} {number:10.3f}", flush=True)
    machine = {"cores": len(os.sched_getaffinity(0)), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}
    write_text(arguments.out, json.dumps({"machine": machine, **results}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
