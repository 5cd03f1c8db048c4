"""The figures show the run's own numbers, whatever became of its weights."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from metaplast.analysis.quadratic import QuadraticTask
from metaplast.analysis.quadratic_experiment import QuadraticRun, run_plane, run_random, run_task
from metaplast.analysis.quadratic_figures import draw_plane, draw_speed, draw_switch_cost


def one_kind(optimum: float) -> QuadraticRun:
    """Return a run whose three weights all diverge (W* beyond 1) or all settle."""
    task = QuadraticTask(np.diag([1.0, 2.0, 3.0]), np.full(3, optimum))
    return run_task(task, start=np.full(3, 0.01), lr=0.1, steps=50)


def rendered(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def texts(figure: Figure) -> str:
    """Return all that is written inside the axes, legends included."""
    return " ".join(text.get_text() for ax in figure.axes for text in ax.findobj(Text))


@pytest.mark.parametrize("optimum", [3.0, 0.3], ids=["all diverge", "all settle"])
def test_a_run_of_one_kind_of_weight_is_drawn(optimum: float) -> None:
    run = one_kind(optimum)
    for figure in (draw_speed(run), draw_switch_cost(run)):
        assert rendered(figure).startswith(b"\x89PNG")
        assert f"{run.diverges.sum()} weights that diverge" in texts(figure)


def test_the_speed_figure_holds_each_weights_prediction_and_measurement() -> None:
    run = run_random(dimension=30, steps=200)
    speed = draw_speed(run).axes[1]
    (line,) = [line for line in speed.lines if str(line.get_label()).endswith("that diverge")]
    assert np.array_equal(line.get_xdata(), run.predicted[run.diverges])
    assert np.array_equal(line.get_ydata(), run.measured[run.diverges])


def test_the_switch_cost_figure_tells_its_rank_correlation() -> None:
    run = run_random(dimension=30, steps=200)
    assert f"{run.bins.rank_correlation:.3f}" in texts(draw_switch_cost(run))


def test_the_plane_is_of_two_weights() -> None:
    assert rendered(draw_plane(run_plane())).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="the plane has 2 weights, but the run has 3"):
        draw_plane(one_kind(3.0))
