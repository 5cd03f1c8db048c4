"""What differs between runs, and the groups and lines that follow from it, whatever key was varied.

Means and standard deviations over seeds, judged by NumPy.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.report.aggregate import Sweep, make_sweep, numbers, over_seeds, percent, varying
from metaplast.runs.index import Run, Value, read_run
from metaplast.runs.summary import RunStatus

LayRun = Callable[..., Path]


def run(**settings: Value) -> Run:
    """A run with these settings; a double underscore stands for a dot."""
    return Run(
        Path("r"), RunStatus.COMPLETED, None, {}, {key.replace("__", "."): value for key, value in settings.items()}, ""
    )


def sweep_of(*settings: Mapping[str, Value]) -> Sweep:
    return make_sweep([run(**one) for one in settings])


def labels(sweep: Sweep) -> list[str]:
    return [setting.label for setting in sweep.settings]


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=12))
def test_runs_share_a_setting_exactly_if_they_are_alike_but_for_the_seed(rows: list[tuple[int, ...]]) -> None:
    runs = [run(m=m, lr=lr, seed=seed) for m, lr, seed in rows]
    sweep = make_sweep(runs)
    placed = [(one.settings["m"], one.settings["lr"]) for setting in sweep.settings for one in setting.runs]
    assert len(sweep.settings) == len({(m, lr) for m, lr, _ in rows})
    assert len(placed) == len(rows)
    for setting in sweep.settings:
        assert len({(one.settings["m"], one.settings["lr"]) for one in setting.runs}) == 1


@given(st.permutations([0, 0.5, 1, 2, None]))
def test_settings_stand_in_the_order_of_their_values(values: Iterable[float | None]) -> None:
    sweep = sweep_of(*({"m": m, "seed": 0} for m in values))
    assert [setting.values["m"] for setting in sweep.settings] == [None, 0, 0.5, 1, 2]


def test_the_seed_is_no_setting() -> None:
    sweep = sweep_of({"m": 1, "seed": 0}, {"m": 1, "seed": 1})
    assert sweep.keys == []
    assert [len(setting.runs) for setting in sweep.settings] == [2]
    assert labels(sweep) == ["m = 1"]


def test_what_comes_with_a_name_is_no_setting_of_its_own() -> None:
    ewc: dict[str, Value] = {"strategy.name": "ewc", "strategy.lambda": 5, "m": None}
    meta: dict[str, Value] = {"strategy.name": "meta", "strategy.lambda": None, "m": 2}
    assert varying([ewc, meta]) == ["strategy.name"]
    assert varying([ewc, meta, {**meta, "m": 1}]) == ["strategy.name", "m"]
    assert varying([ewc, meta, {**ewc, "strategy.lambda": 50}]) == ["strategy.name", "strategy.lambda"]


def test_what_lies_outside_the_section_of_a_name_is_a_setting_even_where_it_goes_along_with_the_name() -> None:
    ewc: dict[str, Value] = {"strategy.name": "ewc", "m": None, "epochs_per_task": 1, "batch_size": 10}
    meta: dict[str, Value] = {"strategy.name": "meta", "m": 2, "epochs_per_task": 5, "batch_size": 100}
    assert varying([ewc, meta]) == ["strategy.name", "epochs_per_task", "batch_size"]
    assert varying([{"scenario.name": "pmnist", "m": 1}, {"scenario.name": "stream", "m": 2}]) == ["scenario.name", "m"]


def test_m_is_the_axis_wherever_it_varies_and_else_the_first_key_of_numbers() -> None:
    assert sweep_of({"lr": 1, "m": 0}, {"lr": 2, "m": 1}).axis == "m"
    assert sweep_of({"norm": "batch", "on": True, "lr": 1}, {"norm": "layer", "on": False, "lr": 2}).axis == "lr"
    assert sweep_of({"norm": "batch", "on": True}, {"norm": "layer", "on": False}).axis is None
    assert sweep_of({"m": "[0, 1]"}, {"m": 1}).axis is None  # one a layer stands nowhere on a line of numbers


def test_each_combination_of_the_other_keys_is_a_line_and_what_has_no_m_is_in_its_own() -> None:
    sweep = sweep_of(
        *({"strategy__name": "meta", "m": m, "model__hidden": h} for m in (0, 1) for h in ("[8]", "[16]")),
        {"strategy__name": "finetune", "m": None, "model__hidden": "[8]"},
    )
    assert {name: [setting.values["m"] for setting in line] for name, line in sweep.series().items()} == {
        "finetune · hidden = [8]": [None],
        "meta · hidden = [8]": [0, 1],
        "meta · hidden = [16]": [0, 1],
    }


def test_a_single_line_bears_no_name() -> None:
    assert list(sweep_of({"m": 0}, {"m": 1}).series()) == [""]


def test_keys_with_one_ending_are_shown_in_full() -> None:
    sweep = sweep_of(
        {"a__lr": 1, "b__lr": 1, "m": 0}, {"a__lr": 2, "b__lr": 2, "m": 0}, {"a__lr": 1, "b__lr": 2, "m": 0}
    )
    assert labels(sweep)[0] == "a.lr = 1 · b.lr = 1"


def test_only_completed_runs_count_and_a_run_that_left_no_settings_is_in_none(tmp_path: Path, lay_run: LayRun) -> None:
    runs = [read_run(lay_run(tmp_path / str(seed), seed=seed)) for seed in range(3)]
    runs += [read_run(lay_run(tmp_path / "3", "failed", seed=3)), run()]
    sweep = make_sweep(runs)
    [setting] = sweep.settings
    assert setting.seeds == "3 of 4"
    assert setting.over_seeds("average_accuracy").n == 3
    assert len(sweep.runs) == 5


FRACTIONS = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(FRACTIONS)
def test_mean_and_sample_standard_deviation_are_numpys(values: list[float]) -> None:
    spread = over_seeds(enumerate(map(numbers, values)))
    assert float(spread.mean) == pytest.approx(np.mean(values))
    assert float(spread.sd) == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    assert spread.n == len(values)


@given(FRACTIONS, st.integers(1, 3))
def test_a_run_done_again_with_its_seed_changes_nothing(values: list[float], times: int) -> None:
    once = over_seeds(enumerate(map(numbers, values)))
    again = over_seeds([(seed, numbers(value)) for seed, value in enumerate(values) for _ in range(times)])
    assert (float(again.mean), float(again.sd), again.n) == pytest.approx((float(once.mean), float(once.sd), once.n))


def test_matrices_are_averaged_cell_by_cell_and_a_cell_not_measured_stays_unknown() -> None:
    first, second = [[0.5, None], [0.25, 1.0]], [[1.0, 0.5], [0.75, 1.0]]
    spread = over_seeds([(0, numbers(first)), (1, numbers(second))])
    assert spread.mean.nan_to_num(-1).tolist() == [[0.75, -1], [0.5, 1.0]]


def test_one_seed_has_a_mean_and_no_spread_and_no_run_has_neither() -> None:
    assert percent(over_seeds([(0, numbers(0.5))])) == "50.0"
    assert percent(over_seeds([])) == "–"
    assert math.isnan(float(over_seeds([(0, torch.ones(()))]).sd))


def test_a_mean_that_rounds_to_zero_has_no_sign() -> None:
    assert percent(over_seeds([(0, numbers(-0.0001)), (1, numbers(-0.0001))])) == "0.0 ± 0.0"
