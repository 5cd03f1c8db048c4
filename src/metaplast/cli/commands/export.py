"""Export the trained network of a run for use elsewhere: to ONNX, torch.export, or bits with a C program.

    metaplast export outputs/train/DATE/TIME --format onnx
    metaplast export outputs/train/DATE/TIME --format torch --task 0
    metaplast export outputs/train/DATE/TIME --format packed --out outputs/packed

The file is read back and compared with the network on the test images of the task. ONNX needs pip install -e
'.[export]'. What each format holds: docs/export.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaplast.cli.script import OneLineParser, script, whole
from metaplast.errors import UserError
from metaplast.system import yield_cores

if TYPE_CHECKING:
    from metaplast.export.folding import FoldedNetwork


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN_DIR", help="directory of a run with a checkpoint")
    add("--format", choices=("onnx", "torch", "packed"), required=True, help="onnx, torch (.pt2) or packed (C)")
    add("--task", type=whole(0, 10**6), metavar="N", help="whose normalization is used, from 0 (default: the last one)")
    add("--data-dir", type=Path, metavar="DIR", help="folder of the data sets (default: that of the run)")
    add(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="a scenario or model of your own that config.yaml may name",
    )
    add("--out", type=Path, metavar="DIR", help="folder of the files (default: RUN_DIR/export)")
    return parser.parse_args(argv)


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    yield_cores()
    import torch

    from metaplast.export.folding import FoldedNetwork
    from metaplast.export.formats import TOLERANCE, compare, exported_form, reader, require_packages, write
    from metaplast.scenarios import task_tensors
    from metaplast.training.finished_run import load_run_for_use

    require_packages(arguments.format)
    run = load_run_for_use(arguments.run_dir, arguments.task, "population", arguments.data_dir, arguments.trust)
    task = run.last_task if arguments.task is None else arguments.task
    tests = run.scenario.benchmark.test_stream
    tensors = task_tensors(tests[min(task, len(tests) - 1)])
    images, _ = tensors.batch(slice(None))
    network = exported_form(run.network, arguments.format, pixels=tensors.images.dtype == torch.uint8)
    title = f"{run.config.model.name} trained on {run.config.scenario.name}, with the normalization of task {task}"
    folder = arguments.out or arguments.run_dir / "export"
    try:
        paths = write(network, arguments.format, images, folder, title)
    except OSError as error:
        raise UserError(f"--out {folder}: expected a folder that can be written to, got {error.strerror}") from error
    result = compare(reader(network, arguments.format, paths), run.network, images)
    if isinstance(network, FoldedNetwork) and arguments.format == "packed":
        print(table(network))
    print(
        f"{result.images:,} test images of task {task}: {result.other_answers:,} other answers, {result.off:,} with a "
        f"logit more than {TOLERANCE} off, the largest difference {result.largest:.1e}"
    )
    print("Written: " + ", ".join(map(str, paths)))
    if result.other_answers > result.images * TOLERATED:
        raise UserError(f"{paths[0]}: expected the answers of the network, got {result.other_answers:,} others")


TOLERATED = 1e-3
"""Share of other answers; single precision rounds in another order elsewhere, which turns over a sign now and then."""


def table(network: "FoldedNetwork") -> str:
    """Sizes and operations of the layers of a network in integers."""
    from metaplast.export.formats import sizes

    rows = sizes(network)
    weights, size = sum(row.weights for row in rows), sum(row.size for row in rows)
    lines = ["layer      weights    bytes  bits a weight  for an image"]
    lines += [f"{r.layer:<8}{r.weights:>10,}{r.size:>9,}{8 * r.size / r.weights:>15.2f}  {r.work}" for r in rows]
    lines.append(
        f"{'all':<8}{weights:>10,}{size:>9,}{8 * size / weights:>15.2f}  float32 weights: {4 * weights:,} bytes"
    )
    return "\n".join(lines)
