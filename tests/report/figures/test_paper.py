"""What an experiment asks for is drawn from its runs, and nothing else is."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from metaplast.report.aggregate import Sweep, make_sweep
from metaplast.report.figures.paper import (
    WRITERS,
    draw_histograms,
    lines,
    requested_plots,
    width,
    write_requested_plots,
)
from metaplast.report.report import report_sweep
from metaplast.report.tables import markdown_table
from metaplast.runs.index import find_runs

LayRun = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path, lay_run: LayRun) -> Callable[..., Sweep]:
    """Lay runs, each given by what it differs in, and read them as a sweep."""

    def make(*runs: dict[str, object], plots: list[str]) -> Sweep:
        for number, settings in enumerate(runs):
            lay_run(tmp_path / str(number), plots=plots, **settings)
        return make_sweep(find_runs([tmp_path]))

    return make


def test_only_what_the_runs_name_is_drawn(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    sweep = lay({"m": 0.0}, {"m": 1.0}, plots=["tasks_by_m", "no longer there"])
    assert requested_plots(sweep.runs) == ["tasks_by_m"]
    assert [path.name for path in write_requested_plots(tmp_path, sweep)] == ["tasks_by_m.png"]


def test_the_report_of_a_sweep_draws_them(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    lay({"m": 0.0}, {"m": 1.0}, plots=["accuracy_table"])
    report_sweep([tmp_path], console=Console(file=io.StringIO()))
    assert {path.name for path in tmp_path.glob("accuracy_table*")} == {"accuracy_table.csv", "accuracy_table.md"}


def test_neither_the_budget_nor_the_figures_tell_runs_apart(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", budget="cpu", plots=["tasks_by_m"])
    lay_run(tmp_path / "1", budget="paper", plots=[])
    assert make_sweep(find_runs([tmp_path])).keys == []


def test_a_sweep_without_a_completed_run_has_no_figures(tmp_path: Path, lay_run: LayRun) -> None:
    lay_run(tmp_path / "0", "failed", plots=list(WRITERS))
    assert write_requested_plots(tmp_path, make_sweep(find_runs([tmp_path]))) == []


def test_the_table_has_the_accuracy_on_each_task_at_the_end(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    runs = [{"m": m, "seed": seed} for m in (0.0, 1.0) for seed in (0, 1)]
    sweep = lay(*runs, plots=["accuracy_table"])
    write_requested_plots(tmp_path, sweep)
    rows = list(csv.DictReader((tmp_path / "accuracy_table.csv").read_text().splitlines()))
    R = [run.summary["accuracy_matrix"] for run in sweep.runs]
    assert [(row["setting"], row["task"]) for row in rows[:4]] == [("m = 0", t) for t in ("0", "1", "2", "average")]
    assert float(rows[0]["mean"]) == pytest.approx((R[0][-1][0] + R[1][-1][0]) / 2)
    assert float(rows[0]["sd"]) == pytest.approx(np.std([R[0][-1][0], R[1][-1][0]], ddof=1))
    assert (
        markdown_table(list(sweep.settings))
        .splitlines()[0]
        .startswith("| setting | task 0 | task 1 | task 2 | average |")
    )


def test_settings_of_several_widths_are_lines_from_narrow_to_wide(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    runs = [{"strategy": strategy, "hidden": [w, w]} for w in (128, 32, 64) for strategy in ("meta", "ewc")]
    sweep = lay(*runs, plots=["accuracy_by_width"])
    assert {name: [width(s) for s in settings] for name, settings in lines(sweep).items()} == {
        name: [32, 64, 128] for name in lines(sweep)
    }
    assert len(lines(sweep)) == 2
    [path] = write_requested_plots(tmp_path, sweep)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_two_tasks_stand_beside_networks_that_learned_one(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    whole = {"name": "mnist_usps", "order": ["mnist", "usps"]}
    half = {"name": "usps_part", "order": ["usps"]}
    sweep = lay({"scenario": whole, "n_tasks": 2}, {"scenario": half, "n_tasks": 1}, plots=["two_tasks"])
    [path] = write_requested_plots(tmp_path, sweep)
    assert path.name == "two_tasks.png"


def test_a_network_that_learned_three_tasks_is_no_level_beside_two(
    tmp_path: Path, lay: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    def keep(target: Path, figure: Figure) -> Path:
        drawn.append(figure)
        return target

    orders = (["mnist", "usps"], ["mnist"], ["mnist", "usps", "svhn"])
    scenarios = [{"name": "-".join(order), "order": order} for order in orders]
    sweep = lay(*({"scenario": one, "n_tasks": len(one["order"])} for one in scenarios), plots=["two_tasks"])
    monkeypatch.setattr("metaplast.report.figures.paper.save_figure", keep)
    write_requested_plots(tmp_path, sweep)
    labels = [[label.partition(":")[0] for label in ax.get_legend_handles_labels()[1]] for ax in drawn[0].axes]
    assert labels == [["mnist", "mnist-usps"], ["mnist-usps"]]


def test_a_stream_is_drawn_beside_the_same_data_all_at_once(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    runs = [{"m": m, "scenario": {"name": "stream", "n_parts": n}, "n_tasks": n} for m in (0.0, 2.0) for n in (1, 3)]
    [path] = write_requested_plots(tmp_path, lay(*runs, plots=["stream_against_all_at_once"]))
    assert path.name == "stream_against_all_at_once.png"


def test_histograms_of_a_sweep_are_drawn_where_a_run_has_them(tmp_path: Path, lay: Callable[..., Sweep]) -> None:
    sweep = lay({"m": 0.0}, {"m": 1.0}, plots=["hidden_weights"])
    assert write_requested_plots(tmp_path, sweep) == []
    counts, edges = np.ones((2, 4), np.float32), np.tile(np.linspace(-1, 1, 5, dtype=np.float32), (2, 1))
    np.savez(tmp_path / "1" / "hidden_weights.npz", **{"layer1/counts": counts, "layer1/edges": edges})  # type: ignore[arg-type]
    assert [path.name for path in write_requested_plots(tmp_path, sweep)] == ["hidden_weights.png"]


def test_of_a_long_stream_ten_tasks_have_a_histogram() -> None:
    ax = Figure().add_subplot()
    counts, edges = np.ones((1000, 8), np.float32), np.tile(np.linspace(-1, 1, 9, dtype=np.float32), (1000, 1))
    draw_histograms(ax, counts, edges)
    names = [str(patch.get_label()) for patch in ax.patches]
    assert len(names) == 10
    assert (names[0], names[-1]) == ("task 0", "task 999")
