"""What is drawn: means, spreads and dots where they belong, on an axis that suits the values."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaplast.report.aggregate import Sweep, make_sweep
from metaplast.report.figures.sweep import (
    MAX_SETTINGS,
    draw_metric,
    draw_setting_curves,
    draw_setting_matrix,
    metric_height,
    shown,
    write_figures,
)
from metaplast.runs.index import Run, Value, find_runs
from metaplast.runs.summary import RunStatus

LayRun = Callable[..., Path]


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def run(accuracy: float, **settings: Value) -> Run:
    """A completed run with these settings."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return Run(
        Path("r"), RunStatus.COMPLETED, None, {"average_accuracy": accuracy, "accuracy_matrix": [[accuracy]]}, named, ""
    )


def lines(ax: Axes) -> Mapping[str, list[tuple[float, float]]]:
    """The points that the drawn means lie at, by the name of their line."""
    bars = {str(container.get_label()): container.lines[0] for container in ax.containers}  # type: ignore[attr-defined]
    return {name: [(float(x), float(y)) for x, y in line.get_xydata()] for name, line in bars.items()}


def ticks(ax: Axes) -> Sequence[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def band(ax: Axes, index: int) -> tuple[float, float]:
    """The lowest and the highest point of a band."""
    heights = np.concatenate([path.vertices[:, 1] for path in ax.collections[index].get_paths()])  # type: ignore[index]
    return float(heights.min()), float(heights.max())


def test_a_point_is_the_mean_over_seeds_with_its_standard_deviation_and_a_dot_for_each_run(ax: Axes) -> None:
    runs = [run(accuracy, m=m, seed=seed) for m in (0, 1) for seed, accuracy in enumerate([0.5 + m / 10, 0.7 + m / 10])]
    draw_metric(ax, make_sweep(runs), "average_accuracy")
    [means] = lines(ax).values()
    assert means == [pytest.approx((0, 60)), pytest.approx((1, 70))]
    sd = 100 * np.std([0.5, 0.7], ddof=1)
    assert band(ax, 0) == pytest.approx((60 - sd, 70 + sd))
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [sorted(np.asarray(line.get_ydata())) for line in dots] == [pytest.approx([50, 70]), pytest.approx([60, 80])]


def test_each_strategy_has_its_line_and_one_without_m_is_a_level_over_the_whole_width(ax: Axes) -> None:
    meta = [run(0.5 + m / 10, strategy__name="meta", m=m, seed=0) for m in (2, 0, 1)]
    draw_metric(ax, make_sweep([run(0.3, strategy__name="finetune", m=None, seed=0), *meta]), "average_accuracy")
    assert lines(ax)["meta"] == [pytest.approx((0, 50)), pytest.approx((1, 60)), pytest.approx((2, 70))]
    [level] = [line for line in ax.lines if line.get_label() == "finetune"]
    assert np.asarray(level.get_xydata()) == pytest.approx(np.array([[0, 30], [1, 30]]))  # 0 to 1: of the axes' width
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["finetune", "meta"]


@pytest.mark.parametrize("name", ["ewc", "strategies", "a strategy of more than twenty letters", "long words " * 20])
def test_names_of_any_length_leave_the_axes_their_room(name: str) -> None:
    runs = [run(0.5, strategy__name=f"{name}{index}", m=m) for index in range(6) for m in (0, 1)]
    sweep = make_sweep(runs)
    figure = Figure(figsize=(4.8, metric_height(sweep)), layout="constrained")
    ax = figure.add_subplot()
    draw_metric(ax, sweep, "average_accuracy")
    figure.draw_without_rendering()
    box = ax.get_position()
    assert box.width > 0.75
    assert box.height * metric_height(sweep) > 1.7  # inches


@pytest.mark.parametrize(
    ("values", "scale", "marked"),
    [
        ([0, 0.5, 1, 1.35], "linear", ["0", "0.5", "1", "1.35"]),
        ([0, 0.5, 1, 1.3, 1.35], "linear", ["0", "0.5", "1", "1.3"]),
        ([1, 10, 100, 1000], "log", ["1", "10", "100", "1000"]),
        ([0, 1, 1000], "linear", ["0", "1000"]),
    ],
)
def test_the_axis_bears_the_values_as_far_as_they_can_be_read(
    ax: Axes, values: list[float], scale: str, marked: list[str]
) -> None:
    draw_metric(ax, make_sweep([run(0.5, m=value) for value in values]), "average_accuracy")
    assert (ax.get_xscale(), ticks(ax)) == (scale, marked)


def test_without_a_key_of_numbers_each_setting_is_a_row(ax: Axes) -> None:
    runs = [run(accuracy, model__norm=norm, seed=0) for norm, accuracy in [("layer", 0.4), ("batch", 0.6)]]
    draw_metric(ax, make_sweep(runs), "average_accuracy")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["norm = batch", "norm = layer"]
    assert [float(container.lines[0].get_xdata()[0]) for container in ax.containers] == pytest.approx([60, 40])  # type: ignore[attr-defined]


def test_only_completed_runs_are_drawn(ax: Axes, tmp_path: Path, lay_run: LayRun) -> None:
    for index, (m, status) in enumerate([(0.0, "completed"), (1.0, "completed"), (2.0, "failed")]):
        lay_run(tmp_path / str(index), status, m=m)
    sweep = make_sweep(find_runs([tmp_path]))
    draw_metric(ax, sweep, "forgetting")
    assert ticks(ax) == ["0", "1"]
    assert [setting.label for setting in shown(sweep)] == ["m = 0", "m = 1"]


def test_of_many_settings_the_best_are_shown_in_the_order_of_the_sweep() -> None:
    accuracy = [7 * m % 60 / 60 for m in range(60)]
    sweep = make_sweep([run(accuracy[m], m=m) for m in range(60)])
    best = sorted(range(60), key=accuracy.__getitem__)[-MAX_SETTINGS:]
    assert [setting.values["m"] for setting in shown(sweep)] == sorted(best)


def test_curves_are_the_mean_of_the_seeds_with_a_band_around_each_task(
    ax: Axes, tmp_path: Path, lay_run: LayRun
) -> None:
    for seed in range(3):
        lay_run(tmp_path / str(seed), seed=seed)  # each a point above the one before
    [setting] = make_sweep(find_runs([tmp_path])).settings
    draw_setting_curves(ax, setting)
    first, average = (np.asarray(ax.lines[index].get_ydata(), dtype=float) for index in (1, 6))
    assert first == pytest.approx([91, 56, 21])
    assert average == pytest.approx([91, 73.5, 56])
    assert band(ax, 0) == pytest.approx((20, 92))
    assert band(ax, 3) == pytest.approx((55, 92))


def test_a_setting_of_one_seed_has_curves_without_bands(ax: Axes, tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0")
    draw_setting_curves(ax, make_sweep(find_runs([tmp_path])).settings[0])
    assert np.asarray(ax.lines[1].get_ydata(), dtype=float) == pytest.approx([90, 55, 20])
    assert all(not path.vertices.size for band in ax.collections for path in band.get_paths())  # type: ignore[union-attr]


@pytest.mark.parametrize("content", [None, "epoch,accuracy/task_0\n1,one\n"])
def test_without_metrics_the_axes_say_so(ax: Axes, tmp_path: Path, lay_run: LayRun, content: str | None) -> None:
    metrics = lay_run(tmp_path / "0") / "metrics.csv"
    metrics.unlink() if content is None else metrics.write_text(content)
    draw_setting_curves(ax, make_sweep(find_runs([tmp_path])).settings[0])
    assert [text.get_text() for text in ax.texts] == ["no curves: metrics.csv cannot be read"]


def test_the_matrix_is_the_mean_over_seeds(ax: Axes, tmp_path: Path, lay_run: LayRun) -> None:
    for seed in range(3):
        lay_run(tmp_path / str(seed), seed=seed)
    draw_setting_matrix(ax, make_sweep(find_runs([tmp_path])).settings[0])
    assert np.asarray(ax.images[0].get_array()) == pytest.approx(np.array([[91, 11, 11], [56, 91, 11], [21, 56, 91]]))


def test_pictures_are_written_once_a_run_is_completed(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", "failed", m=0.0)
    assert write_figures(tmp_path / "out", make_sweep(find_runs([tmp_path]))) == []
    lay_run(tmp_path / "1", m=1.0)
    written = write_figures(tmp_path / "out", make_sweep(find_runs([tmp_path])))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert len(written) == 3


def test_a_sweep_of_a_thousand_settings_is_drawn_as_one(ax: Axes) -> None:
    sweep: Sweep = make_sweep([run(0.5, m=m, lr=lr) for m in range(40) for lr in range(25)])
    draw_metric(ax, sweep, "average_accuracy")
    assert len(ax.containers) == 25
