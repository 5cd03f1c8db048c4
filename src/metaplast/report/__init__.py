"""Tables, figures and files that show what a run came to.

Each name is imported when it is first asked for: the terminal's table needs neither matplotlib nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaplast.report.console import print_summary
    from metaplast.report.figures.curves import draw_curves, make_curves_figure, write_curves_figure
    from metaplast.report.figures.matrix import make_matrix_figure, write_matrix_figure
    from metaplast.report.report import report_sweep
    from metaplast.runs.tables import read_matrix_csv, read_metrics, write_matrix_csv

__all__ = [
    "draw_curves",
    "make_curves_figure",
    "make_matrix_figure",
    "print_summary",
    "read_matrix_csv",
    "read_metrics",
    "report_sweep",
    "write_curves_figure",
    "write_matrix_csv",
    "write_matrix_figure",
]

_MODULES = {
    "draw_curves": "metaplast.report.figures.curves",
    "make_curves_figure": "metaplast.report.figures.curves",
    "make_matrix_figure": "metaplast.report.figures.matrix",
    "print_summary": "metaplast.report.console",
    "read_matrix_csv": "metaplast.runs.tables",
    "read_metrics": "metaplast.runs.tables",
    "report_sweep": "metaplast.report.report",
    "write_curves_figure": "metaplast.report.figures.curves",
    "write_matrix_csv": "metaplast.runs.tables",
    "write_matrix_figure": "metaplast.report.figures.matrix",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
