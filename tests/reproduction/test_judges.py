"""How claims are judged, on runs made by hand: one that holds, one that does not, and what is in between."""

import math
from collections.abc import Callable

import pytest

from metaplast.report.aggregate import Sweep
from metaplast.reproduction import judges as verdicts
from metaplast.reproduction.judges import Part, judged

Make = Callable[..., Sweep]


def by_m(**accuracies: float) -> list[tuple[list[float], dict[str, float]]]:
    """Runs of one task by m: `m0=50` is 50 % at m = 0, `m1_35` at 1.35."""
    return [([value], {"m": float(key[1:].replace("_", "."))}) for key, value in accuracies.items()]


@pytest.mark.parametrize(
    ("held", "verdict"), [([True, True], "held"), ([True, False], "held in part"), ([False, False], "did not hold")]
)
def test_a_claim_holds_if_all_of_it_does(held: list[bool], verdict: str) -> None:
    finding = judged([Part(part, "so much") for part in held])
    assert finding.verdict == verdict
    assert finding.found.count("not met: ") == held.count(False)


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ({"m0": 50.0, "m1": 60.0, "m2": 70.0}, "held"),
        ({"m0": 50.0, "m1": 70.0, "m2": 60.0}, "held"),
        ({"m0": 50.0, "m1": 49.6, "m2": 60.0}, "held"),
        ({"m0": 50.0, "m1": 40.0, "m2": 70.0}, "held in part"),
        ({"m0": 70.0, "m1": 60.0, "m2": 50.0}, "held in part"),
    ],
)
def test_accuracy_has_to_rise_to_its_best(accuracies: dict[str, float], verdict: str, sweep: Make) -> None:
    assert verdicts.rises_with_m(sweep(*by_m(**accuracies))).verdict == verdict


@pytest.mark.parametrize(("control", "verdict"), [(59.0, "held"), (61.0, "did not hold"), (40.0, "held")])
def test_the_control_may_gain_less_than_a_third(control: float, verdict: str, sweep: Make) -> None:
    bnn = sweep(*by_m(m0=50.0, m1=80.0), name="bnn")
    finding = verdicts.control_gains_less(sweep(*by_m(m0=50.0, m1=control)), bnn)
    assert finding.verdict == verdict
    assert "binary +30.0" in finding.found


@pytest.mark.parametrize(
    ("meta", "shuffled", "verdict"),
    [(90.0, 60.0, "held"), (98.0, 60.0, "held"), (88.0, 60.0, "held in part"), (62.0, 90.0, "did not hold")],
)
def test_table_1_asks_for_three_things(meta: float, shuffled: float, verdict: str, sweep: Make) -> None:
    plain, ewc = (60.0, 90.5)
    names = {"finetune": plain, "ewc": ewc, "ewc_shuffled": shuffled, "meta": meta}
    runs = [([value], {"strategy.name": name, "strategy.uses_m": name == "meta"}) for name, value in names.items()]
    assert verdicts.table1(sweep(*runs)).verdict == verdict


def widths(strategy: str, *accuracies: float, tasks: int = 1) -> list[tuple[list[float], dict[str, object]]]:
    return [
        ([value] * tasks, {"strategy.name": strategy, "model.hidden": [2**i, 2**i]})
        for i, value in enumerate(accuracies, start=3)
    ]


def test_width_must_not_hurt_from_narrow_to_wide(sweep: Make) -> None:
    assert verdicts.does_not_fall_with_width(sweep(*widths("meta", 80, 90, 89.6, 95))).verdict == "held"
    fallen = verdicts.does_not_fall_with_width(sweep(*widths("meta", 80, 90, 70), name="fallen"))
    assert fallen.verdict == "did not hold"
    assert "8: 80.0, 16: 90.0, 32: 70.0" in fallen.found


def test_learning_all_at_once_must_not_suffer_from_m(sweep: Make) -> None:
    runs = [*widths("meta", 80, 90), *widths("joint", 96, 97)]
    assert verdicts.joint_is_not_hurt(sweep(*runs, *widths("joint_meta", 90, 95.5))).verdict == "held"
    assert verdicts.joint_is_not_hurt(sweep(*runs, *widths("joint_meta", 96, 90), name="x")).verdict == "held in part"


def test_a_target_is_of_the_mean_and_of_every_task(sweep: Make) -> None:
    runs = [([97, 95, 97], {"strategy.name": "meta", "model.hidden": [8]})]
    assert verdicts.reaches(sweep(*runs), average=96, every=94).verdict == "held"
    runs = [([99, 93, 99], {"strategy.name": "meta", "model.hidden": [8]})]
    assert verdicts.reaches(sweep(*runs, name="x"), average=96, every=94).verdict == "held in part"


def test_two_data_sets_have_floors_by_name_and_no_jumps(sweep: Make) -> None:
    order = {"scenario.order": ["fashion_mnist", "mnist"], "m": 1.5}
    floors = {"mnist": 96.0, "fashion_mnist": 85.0}
    calm = [[86.0, 95.0], [86.0, 97.0]]
    assert verdicts.two_data_sets(sweep(([86.0, 97.0], order, calm)), floors).verdict == "held"
    wild = [[86.0, 97.0], [60.0, 97.0], [86.0, 97.0]]
    finding = verdicts.two_data_sets(sweep(([86.0, 97.0], order, wild), name="x"), floors)
    assert finding.verdict == "held in part"
    assert "not met: largest jump in the last 10 epochs 26.0" in finding.found


def test_jumps_count_in_the_last_epochs_alone(sweep: Make) -> None:
    [setting] = sweep(([90.0], {}, [[10.0], [80.0], [88.0], [90.0]])).settings
    assert verdicts.largest_jump(setting, last=3) == pytest.approx(8.0)
    assert verdicts.largest_jump(setting, last=10) == pytest.approx(70.0)
    [setting] = sweep(([90.0], {}), name="x").settings
    assert math.isnan(verdicts.largest_jump(setting, last=3))


def test_more_has_to_be_kept_in_every_variant(sweep: Make) -> None:
    runs = [
        ([20.0 + 30 * m + 5 * (kind == "task"), 90.0], {"m": m, "scenario.incremental": kind})
        for m in (0.0, 2.0)
        for kind in ("class", "task")
    ]
    finding = verdicts.keeps_more(sweep(*runs))
    assert finding.verdict == "held"
    assert "incremental class: first task 20.0 → 80.0 %" in finding.found
    runs[0] = ([85.0, 90.0], runs[0][1])
    assert verdicts.keeps_more(sweep(*runs, name="x")).verdict == "held in part"


def test_one_network_is_compared_with_two_halves(sweep: Make) -> None:
    runs = [
        ([95.0, 90.0], {"scenario.name": "mnist_usps"}),
        ([96.0], {"scenario.name": "mnist_part"}),
        ([93.0], {"scenario.name": "usps_part"}),
    ]
    finding = verdicts.matches_halves(sweep(*runs))
    assert finding.verdict == "held in part"
    assert "not met: USPS: 90.0 %, half-size network alone 93.0 %" in finding.found


@pytest.mark.parametrize(("in_parts", "verdict"), [(86.0, "held"), (70.0, "did not hold")])
def test_the_streamed_network_has_to_end_closer_with_m(in_parts: float, verdict: str, sweep: Make) -> None:
    accuracy = {(0.0, 1): 90.0, (0.0, 60): 75.0, (2.5, 1): 88.0, (2.5, 60): in_parts}
    runs = [([value], {"m": m, "scenario.n_parts": parts}) for (m, parts), value in accuracy.items()]
    finding = verdicts.streamed_ends_closer(sweep(*runs))
    assert finding.verdict == verdict
    assert "0: 15.0" in finding.found


@pytest.mark.parametrize(
    ("found", "verdict"),
    [([0.99, 1.0], "held"), ([0.99, 0.5], "did not hold"), ([None], "did not hold"), ([], "did not hold")],
)
def test_numbers_of_a_script_have_floors(found: list[float | None], verdict: str) -> None:
    assert verdicts.every_run([{"r": r} for r in found], {"r": 0.9}).verdict == verdict


@pytest.mark.parametrize(("chosen", "verdict"), [("2", "held"), ("1", "held"), ("0", "did not hold")])
def test_the_choice_has_to_be_near_the_best(chosen: str, verdict: str) -> None:
    accuracies = {"0": "0.7", "1": "0.915", "2": "0.93"}
    rows = [
        {"settings": "seed=0", "m": m, "average_accuracy": a, "chosen": "true" if m == chosen else "false"}
        for m, a in accuracies.items()
    ]
    assert verdicts.choice_is_near(rows).verdict == verdict


def test_where_nothing_is_claimed_the_numbers_are_shown(sweep: Make) -> None:
    finding = verdicts.shown(sweep(*by_m(m0=50.0, m1=60.0)))
    assert finding == ("measured", "from 50.0 (m = 0) to 60.0 % (m = 1), 2 settings")
