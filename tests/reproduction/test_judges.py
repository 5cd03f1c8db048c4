"""How claims are judged, on runs made by hand: some hold, some do not, others are uncertain or not comparable."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from metaplast.report.aggregate import Sweep
from metaplast.reproduction import judges
from metaplast.reproduction.verdict import NotComparableError

Make = Callable[..., Sweep]
Runs = Sequence[tuple[Any, ...]]


def seeded(runs: Runs, n: int = 3) -> list[tuple[Any, ...]]:
    """The runs with `n` seeds each; a seed shifts all accuracies by the same hundredths of a point."""
    return [
        ([a + 0.01 * seed for a in last], {**settings, "seed": seed}, *curves)
        for seed in range(n)
        for last, settings, *curves in runs
    ]


def by_m(**accuracies: float) -> list[tuple[list[float], dict[str, Any]]]:
    """Runs of one task by m: `m0=50` is 50 % at m = 0, `m1_35` at 1.35."""
    return [([value], {"m": float(key[1:].replace("_", "."))}) for key, value in accuracies.items()]


@pytest.mark.parametrize(
    ("accuracies", "outcome"),
    [
        ({"m0": 50.0, "m1": 60.0, "m2": 70.0}, "held"),
        ({"m0": 50.0, "m1": 70.0, "m2": 60.0}, "held"),
        ({"m0": 50.0, "m1": 49.6, "m2": 60.0}, "held"),
        ({"m0": 50.0, "m1": 40.0, "m2": 70.0}, "held in part"),
        ({"m0": 70.0, "m1": 60.0, "m2": 50.0}, "did not hold"),
    ],
)
def test_accuracy_has_to_rise_to_its_best(accuracies: dict[str, float], outcome: str, sweep: Make) -> None:
    assert judges.rises_with_m(sweep(*seeded(by_m(**accuracies)))).outcome == outcome
    one_seed = judges.rises_with_m(sweep(*by_m(**accuracies), name="one")).outcome
    assert one_seed.startswith("one seed: points ")


def test_a_difference_that_the_seeds_do_not_agree_on_is_undecided(sweep: Make) -> None:
    runs = [([60.0 + d], {"m": m, "seed": seed}) for seed, d in enumerate((0, 9, -5)) for m in (0.0,)]
    runs += [([61.0], {"m": 1.0, "seed": seed}) for seed in range(3)]
    verdict = judges.rises_with_m(sweep(*runs))
    assert verdict.outcome == "undecided"
    assert verdict.evidence.startswith("uncertain: ")


@pytest.mark.parametrize(("control", "outcome"), [(59.0, "held"), (61.0, "did not hold"), (40.0, "held")])
def test_the_control_may_gain_less_than_a_third(control: float, outcome: str, sweep: Make) -> None:
    bnn = sweep(*seeded(by_m(m0=50.0, m1=80.0)), name="bnn")
    verdict = judges.control_gains_less(sweep(*seeded(by_m(m0=50.0, m1=control))), bnn)
    assert verdict.outcome == outcome
    assert "binary +30.0" in verdict.evidence


@pytest.mark.parametrize("key", ["epochs_per_task", "scenario.n_tasks", "batch_size"])
def test_runs_under_other_conditions_are_not_compared(key: str, sweep: Make) -> None:
    bnn = sweep(*seeded([(last, {**settings, key: 40}) for last, settings in by_m(m0=50.0, m1=80.0)]), name="bnn")
    control = [(last, {**settings, key: 20}) for last, settings in by_m(m0=50.0, m1=55.0)]
    with pytest.raises(NotComparableError, match=rf"differ in {key} 20 against 40"):
        judges.control_gains_less(sweep(*seeded(control)), bnn)


def test_strategies_with_other_epochs_are_not_compared(sweep: Make) -> None:
    names = {"finetune": 60.0, "ewc": 90.0, "ewc_shuffled": 60.0, "meta": 96.6}
    runs = [
        ([value], {"strategy.name": name, "epochs_per_task": 1 + (name == "meta")}) for name, value in names.items()
    ]
    with pytest.raises(NotComparableError, match=r"epochs_per_task"):
        judges.table1(sweep(*seeded(runs)))


def test_runs_with_other_normalization_are_not_compared(sweep: Make) -> None:
    control, bnn = (sweep(*by_m(m0=50.0, m1=60.0), name=name) for name in ("control", "bnn"))
    for run in bnn.runs:
        run.summary["gamma_init"] = "ones"  # type: ignore[index]
    with pytest.raises(NotComparableError, match=r"normalization batch, per task, γ uniform, batch against .*γ ones"):
        judges.control_gains_less(control, bnn)


def test_runs_without_a_common_seed_are_not_compared(sweep: Make) -> None:
    runs = [([50.0 + 10 * seed], {"m": float(seed), "seed": seed}) for seed in (0, 1)]
    with pytest.raises(NotComparableError, match="share no seed"):
        judges.rises_with_m(sweep(*runs))


@pytest.mark.parametrize(
    ("meta", "shuffled", "outcome"),
    [(90.0, 60.0, "held"), (98.0, 60.0, "held"), (88.0, 60.0, "held in part"), (62.0, 90.0, "did not hold")],
)
def test_table_1_asks_for_three_things(meta: float, shuffled: float, outcome: str, sweep: Make) -> None:
    plain, ewc = (60.0, 90.5)
    names = {"finetune": plain, "ewc": ewc, "ewc_shuffled": shuffled, "meta": meta}
    runs = [([value], {"strategy.name": name, "strategy.uses_m": name == "meta"}) for name, value in names.items()]
    assert judges.table1(sweep(*seeded(runs))).outcome == outcome


def test_a_difference_within_the_tolerance_by_less_than_its_noise_is_uncertain(sweep: Make) -> None:
    accuracies = {"finetune": (60, 60, 60), "ewc": (90, 90, 90), "ewc_shuffled": (60, 60, 60), "meta": (90, 89.5, 88.7)}
    runs = [
        ([value], {"strategy.name": name, "seed": seed})
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    verdict = judges.table1(sweep(*runs))
    assert verdict.outcome == "held in part"
    assert "uncertain: metaplasticity 89.4, EWC 90.0 %" in verdict.evidence


def widths(strategy: str, *accuracies: float, tasks: int = 1) -> list[tuple[list[float], dict[str, object]]]:
    return [
        ([value] * tasks, {"strategy.name": strategy, "model.hidden": [2**i, 2**i]})
        for i, value in enumerate(accuracies, start=3)
    ]


def test_width_must_not_hurt_from_narrow_to_wide(sweep: Make) -> None:
    assert judges.reaches(sweep(*seeded(widths("meta", 80, 90, 89.6, 95))), 94, 94).outcome == "held"
    fallen = judges.reaches(sweep(*seeded(widths("meta", 80, 90, 70)), name="fallen"), 80, 80)
    assert fallen.outcome == "held in part"
    assert fallen.evidence.startswith("not met: meta by width: 8: 80.0, 16: 90.0, 32: 70.0 %")


def test_fig_3_asks_for_both_strategies_and_for_learning_all_at_once(sweep: Make) -> None:
    def outcome(name: str, ewc: Sequence[float] = (70, 80), joint_meta: Sequence[float] = (90, 95.5)) -> str:
        runs = [*widths("meta", 80, 90), *widths("ewc", *ewc), *widths("joint", 96, 97)]
        return judges.joint_is_not_hurt(sweep(*seeded([*runs, *widths("joint_meta", *joint_meta)]), name=name)).outcome

    assert outcome("all") == "held"
    assert outcome("joint hurt", joint_meta=(96, 90)) == "held in part"
    assert outcome("EWC falls", ewc=(80, 70)) == "held in part"


def test_a_target_is_of_the_mean_and_of_every_task(sweep: Make) -> None:
    narrow = ([90, 90, 90], {"strategy.name": "meta", "model.hidden": [4]})
    runs = [narrow, ([97, 95, 97], {"strategy.name": "meta", "model.hidden": [8]})]
    assert judges.reaches(sweep(*seeded(runs)), average_floor=96, task_floor=94).outcome == "held"
    runs = [narrow, ([99, 93, 99], {"strategy.name": "meta", "model.hidden": [8]})]
    assert judges.reaches(sweep(*seeded(runs), name="x"), average_floor=96, task_floor=94).outcome == "held in part"


def test_two_data_sets_have_floors_by_name_and_no_jumps(sweep: Make) -> None:
    order = {"scenario.order": ["fashion_mnist", "mnist"], "m": 1.5}
    floors = {"mnist": 96.0, "fashion_mnist": 85.0}
    calm = [[86.0, 95.0], [86.0, 97.0]]
    assert judges.two_data_sets(sweep(*seeded([([86.0, 97.0], order, calm)])), floors).outcome == "held"
    wild = [[86.0, 97.0], [60.0, 97.0], [86.0, 97.0]]
    verdict = judges.two_data_sets(sweep(*seeded([([86.0, 97.0], order, wild)]), name="x"), floors)
    assert verdict.outcome == "held in part"
    assert "not met: largest jump in the last 10 epochs 26.0" in verdict.evidence
    with pytest.raises(NotComparableError, match="two epochs"):
        judges.two_data_sets(sweep(([86.0, 97.0], order), name="y"), floors)


def test_jumps_count_in_the_last_epochs_alone(sweep: Make) -> None:
    [setting] = sweep(([90.0], {}, [[10.0], [80.0], [88.0], [90.0]])).settings
    assert judges.largest_jumps(setting, last=3) == {0: pytest.approx(8.0)}
    assert judges.largest_jumps(setting, last=10) == {0: pytest.approx(70.0)}
    [setting] = sweep(([90.0], {}), name="x").settings
    assert judges.largest_jumps(setting, last=3) == {}


def test_more_has_to_be_kept_in_every_variant(sweep: Make) -> None:
    runs = [
        ([20.0 + 30 * m + 5 * (kind == "task"), 90.0], {"m": m, "scenario.incremental": kind, "scenario.n_tasks": 2})
        for m in (0.0, 2.0)
        for kind in ("class", "task")
    ]
    verdict = judges.keeps_more(sweep(*seeded(runs)))
    assert verdict.outcome == "held"
    assert "incremental class: first task 20.0 → 80.0 %, average 55.0 ± 0.0 → 85.0 ± 0.0 %" in verdict.evidence
    assert "first task ends at 85.0 % (chance 20)" in verdict.evidence
    runs[0] = ([85.0, 90.0], runs[0][1])
    assert judges.keeps_more(sweep(*seeded(runs), name="x")).outcome == "held in part"


def test_what_is_kept_near_chance_does_not_count(sweep: Make) -> None:
    runs = [([8.8, 94.6], {"m": 0.0}), ([14.8, 92.1], {"m": 2.0})]
    verdict = judges.keeps_more(sweep(*seeded(runs)))
    assert verdict.outcome == "held in part"
    assert "not met: first task ends at 14.8 % (chance 10)" in verdict.evidence
    assert judges.keeps_more(sweep(*runs, name="one")).outcome == "one seed: points this way in part"
    assert judges.keeps_more(sweep(*seeded(runs), name="x"), n_classes=100).outcome == "held"


def test_one_network_is_compared_with_two_halves(sweep: Make) -> None:
    runs = [
        ([95.0, 90.0], {"scenario.name": "mnist_usps"}),
        ([96.0], {"scenario.name": "mnist_part"}),
        ([93.0], {"scenario.name": "usps_part"}),
    ]
    verdict = judges.matches_halves(sweep(*seeded(runs)))
    assert verdict.outcome == "held in part"
    assert "not met: USPS: 90.0 %, half-size network alone 93.0 %" in verdict.evidence


@pytest.mark.parametrize(("in_parts", "outcome"), [(86.0, "held"), (70.0, "did not hold")])
def test_the_streamed_network_has_to_end_closer_with_m(in_parts: float, outcome: str, sweep: Make) -> None:
    accuracy = {(0.0, 1): 90.0, (0.0, 60): 75.0, (2.5, 1): 88.0, (2.5, 60): in_parts}
    runs = [([value], {"m": m, "scenario.n_parts": parts}) for (m, parts), value in accuracy.items()]
    verdict = judges.streamed_ends_closer(sweep(*seeded(runs)))
    assert verdict.outcome == outcome
    assert "0: 15.0" in verdict.evidence


@pytest.mark.parametrize(
    ("numbers", "outcome"),
    [
        ([0.99, 1.0, 0.98], "held"),
        ([0.99, 0.5, 0.7], "undecided"),
        ([0.5, 0.6, 0.5], "did not hold"),
        ([None, None, None], "did not hold"),
        ([0.99], "one seed: points this way"),
    ],
)
def test_numbers_of_a_script_have_floors(numbers: list[float | None], outcome: str) -> None:
    rows = [{"seed": seed, "r": r} for seed, r in enumerate(numbers)]
    assert judges.every_run(rows, {"r": 0.9}).outcome == outcome


@pytest.mark.parametrize(
    ("numbers", "outcome"), [((0.95, 0.92, 0.98), "points this way"), ((0.95, 0.8, 0.98), "points the other way")]
)
def test_the_layers_of_one_network_are_one_seed(numbers: tuple[float, ...], outcome: str) -> None:
    verdict = judges.every_run([{"name": "layer", "r": r} for r in numbers], {"r": 0.9})
    assert verdict.outcome == f"one seed: {outcome}"
    assert verdict.n == 1


def test_a_script_without_numbers_is_not_judged() -> None:
    with pytest.raises(NotComparableError, match="no numbers"):
        judges.every_run([], {"r": 0.9})


@pytest.mark.parametrize(("chosen", "outcome"), [("2", "held"), ("1", "held"), ("0", "did not hold")])
def test_the_choice_has_to_be_near_the_best(chosen: str, outcome: str) -> None:
    accuracies = {"0": "0.7", "1": "0.915", "2": "0.93"}
    rows = [
        {"settings": f"seed={seed}", "m": m, "average_accuracy": a, "chosen": "true" if m == chosen else "false"}
        for seed in range(3)
        for m, a in accuracies.items()
    ]
    assert judges.choice_is_near(rows).outcome == outcome


def test_where_nothing_is_claimed_the_numbers_are_shown(sweep: Make) -> None:
    verdict = judges.show(sweep(*by_m(m0=50.0, m1=60.0)))
    assert verdict == ("measured", "from 50.0 (m = 0) to 60.0 % (m = 1), 2 settings", 1, "")
