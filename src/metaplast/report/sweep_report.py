"""The look at many runs in one call: the table printed; sweep.csv, three pictures and the page written."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metaplast.errors import UserError
from metaplast.report.runs import find_runs


def report_sweep(directories: Sequence[Path], out: Path | None = None, console: Console | None = None) -> Path:
    """Report on all runs in and below `directories` as they stand now, whether a sweep is over or going on.

    Runs that were cut off get what they lack: accuracy_matrix.csv, accuracy_matrix.png and accuracy_curves.png.

    Args:
        directories: where to look for runs, one at least.
        out: folder of the report, made where it is missing; by default the one that holds all `directories`.
        console: where to print; by default standard output.

    Returns:
        The page, sweep.html. Beside it lie sweep.csv and, once a run is completed, sweep_scores.png, sweep_curves.png
        and sweep_matrices.png, and what the runs name in `figures`.

    Raises:
        UserError: if a directory is none, if there is no run, or if `out` cannot be written to.
    """
    runs = find_runs(directories)
    # Seconds of imports, which a wrong directory need not wait for.
    from metaplast.report.cut_run import lacks_results, rebuild_results
    from metaplast.report.experiment_figures import write_experiment_figures
    from metaplast.report.page import write_page
    from metaplast.report.sweep import make_sweep
    from metaplast.report.sweep_figures import write_figures
    from metaplast.report.sweep_table import print_sweep, write_sweep_csv

    together = Path(os.path.commonpath([directory.resolve() for directory in directories]))
    folder = out or _as_given(directories, together)
    sweep = make_sweep(runs)
    console = console or Console()
    for run in runs:
        try:
            if lacks_results(run):
                rebuild_results(run)
        except (UserError, OSError) as error:  # of one run; the others are reported all the same
            console.print(f"{run.path}: its pictures cannot be made: {error}", markup=False, soft_wrap=True)
    print_sweep(sweep, console)
    page = folder / "sweep.html"
    try:
        write_sweep_csv(folder / "sweep.csv", sweep)
        write_figures(folder, sweep)
        try:
            write_experiment_figures(folder, sweep)
        except UserError as error:  # of a file beside a run; the page is none the worse
            console.print(f"not all figures can be drawn: {error}", markup=False, soft_wrap=True)
        write_page(page, sweep, title="/".join(together.parts[-2:]).lstrip("/"))
    except OSError as error:
        raise UserError(f"--out={folder}: cannot be written to: {error.strerror}; give a folder that can") from error
    return page


def _as_given(directories: Sequence[Path], together: Path) -> Path:
    """The folder that holds all directories: a single one stays as the user wrote it."""
    return directories[0] if len(directories) == 1 else together
