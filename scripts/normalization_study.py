"""The study of normalization, read from its runs: one table, one picture, and what was measured inside each arm.

    python src/train.py experiment=normalization hydra.sweep.dir=outputs/normalization
    python scripts/normalization_study.py outputs/normalization

Writes normalization.csv (every number), normalization.md (the table, and each arm against the published code's
settings) and normalization.png (retention against plasticity) to --out. Runs in and below each DIR count.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from metaplast.errors import UserError
from metaplast.one_line_parser import OneLineParser
from metaplast.script import script


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(__doc__)
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="a run, or a folder with runs below it"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (default: the first DIR)")
    return parser.parse_args(argv)


def write(directories: Sequence[Path], folder: Path) -> list[Path]:
    """Read the runs, write the three files, and return where they are."""
    from metaplast.analysis.normalization_figures import draw_normalization
    from metaplast.analysis.normalization_study import study, to_csv, to_markdown
    from metaplast.atomic import write_text
    from metaplast.report.figure_style import save_figure
    from metaplast.report.runs import find_runs

    measured = study(find_runs(directories))
    table, text, picture = (folder / f"normalization.{suffix}" for suffix in ("csv", "md", "png"))
    try:
        write_text(table, to_csv(measured))
        write_text(text, to_markdown(measured))
        save_figure(picture, draw_normalization(measured))
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror}; give another folder by --out") from error
    return [table, text, picture]


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a sweep may be running beside it
    paths = write(arguments.directories, arguments.out or arguments.directories[0])
    print("Written: " + ", ".join(map(str, paths)))


if __name__ == "__main__":
    sys.exit(main())
