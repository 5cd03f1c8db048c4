"""Tables, figures and files that show what a run came to.

Each name is imported when it is first asked for: the terminal's table needs neither matplotlib nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaplast.report.curves_figure import draw_curves, make_curves_figure, write_curves_figure
    from metaplast.report.matrix_csv import read_matrix_csv, write_matrix_csv
    from metaplast.report.matrix_figure import make_matrix_figure, write_matrix_figure
    from metaplast.report.metrics_csv import read_metrics
    from metaplast.report.sweep_report import report_sweep
    from metaplast.report.terminal import print_summary

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

_FILES = {
    "draw_curves": "curves_figure",
    "make_curves_figure": "curves_figure",
    "make_matrix_figure": "matrix_figure",
    "print_summary": "terminal",
    "read_matrix_csv": "matrix_csv",
    "read_metrics": "metrics_csv",
    "report_sweep": "sweep_report",
    "write_curves_figure": "curves_figure",
    "write_matrix_csv": "matrix_csv",
    "write_matrix_figure": "matrix_figure",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
