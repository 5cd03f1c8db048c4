"""The picture of the study of normalization, and when its files are written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D

from metaplast.report.aggregate import make_sweep
from metaplast.report.figures.normalization import draw_normalization
from metaplast.report.figures.paper import write_requested_plots
from metaplast.report.normalization_study import Measured, study
from metaplast.runs.index import find_runs

LayRun = Callable[..., Path]


def test_the_picture_has_a_panel_for_widths_and_m(measured: list[Measured]) -> None:
    figure = draw_normalization(measured)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["8-8, m = 0, 2 tasks × 2", "8-8, m = 2, 2 tasks × 2"]
    points = {tuple(np.round(point, 6)) for line in figure.axes[1].lines for point in np.asarray(line.get_xydata())}
    assert {(85.0, 60.0), (80.0, 30.0), (85.0, 90.0)} <= points


def test_the_legend_of_a_single_width_fits_into_the_picture(tmp_path: Path, lay_study_run: LayRun) -> None:
    lay_study_run(tmp_path / "0", 0.5, norm="layer", norm_per_task=False, gamma_init="uniform", reset_optimizer=False)
    figure = draw_normalization(study(find_runs([tmp_path])))
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= legend.x0 < legend.x1 <= figure.bbox.x1


def test_without_a_completed_run_of_two_tasks_there_is_no_study(tmp_path: Path, lay_study_run: LayRun) -> None:
    lay_study_run(tmp_path / "0", 0.5, status="failed")
    lay_study_run(tmp_path / "1", 0.5, accuracy_matrix=[[0.9]])
    sweep = make_sweep(find_runs([tmp_path]))
    assert study(sweep.runs) == []
    assert write_requested_plots(tmp_path, sweep) == []


def test_a_sweep_without_the_reference_and_with_a_failed_job_is_drawn(tmp_path: Path, lay_study_run: LayRun) -> None:
    lay_study_run(tmp_path / "0", 0.5, gamma_init="uniform")
    lay_study_run(tmp_path / "1", 0.5, status="failed")
    written = write_requested_plots(tmp_path, make_sweep(find_runs([tmp_path])))
    assert written == [tmp_path / f"normalization.{suffix}" for suffix in ("csv", "md", "png")]
    assert all(path.stat().st_size for path in written)


def test_each_kind_of_statistics_has_a_marker_of_its_own(tmp_path: Path, lay_study_run: LayRun) -> None:
    lay_study_run(tmp_path / "0", 0.5, other=0.25)
    lay_study_run(tmp_path / "1", 0.6, test_statistics="running")
    figure = draw_normalization(study(find_runs([tmp_path])))
    [line, *_], handles = figure.axes[0].lines, figure.legends[0].legend_handles
    assert [tuple(np.round(point, 6)) for point in np.asarray(line.get_xydata())] == [(85, 50), (80, 25), (85, 60)]
    faces = [(mark.get_fillstyle(), mark.get_markerfacecolor()) for mark in handles[1:] if isinstance(mark, Line2D)]
    assert len(faces) == len(set(faces)) == 3
