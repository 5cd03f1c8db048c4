"""normalization.csv, .md and .png: every number of the study of normalization, its table, and its picture."""

from pathlib import Path

from metaplast.atomic import write_text
from metaplast.report.figure_style import save_figure
from metaplast.report.normalization_figures import draw_normalization
from metaplast.report.normalization_study import study, to_csv, to_markdown
from metaplast.report.sweep import Sweep


def write(folder: Path, sweep: Sweep) -> list[Path]:
    """Write the study of all completed runs of `sweep` that have two tasks or more; nothing where there is none."""
    measured = study(sweep.runs)
    if not measured:
        return []
    table, text, picture = (folder / f"normalization.{suffix}" for suffix in ("csv", "md", "png"))
    write_text(table, to_csv(measured))
    write_text(text, to_markdown(measured))
    return [table, text, save_figure(picture, draw_normalization(measured))]
