"""The words for the conditions under which a run was measured."""

from typing import Any

from metaplast.report.conditions import common, conditions


def test_a_run_that_says_nothing_has_dashes() -> None:
    assert conditions({}) == ("–", "–", "–", "–", "–")


def test_no_normalization_is_none_and_a_setting_that_a_kind_lacks_is_left_out() -> None:
    assert conditions({"norm": "none", "gamma_init": None}).normalization == "none"
    assert conditions({"norm": "layer", "gamma_init": "ones", "test_statistics": None}).normalization == (
        "layer, shared, γ ones"
    )


def test_a_normalization_without_gamma_and_an_optimizer_that_starts_afresh_are_said() -> None:
    told = conditions({"norm": "batch", "norm_affine": False, "gamma_init": None, "reset_optimizer": True})
    assert (told.normalization, told.optimizer) == ("batch, shared, not affine", "afresh at each task")


def test_validation_data_are_never_taken_for_test_data(summary: dict[str, Any]) -> None:
    validated = {**summary, "test_on": "validation", "validation_share": 0.1}
    assert conditions(validated).tested_on == "validation data (0.1 of the training data)"
    assert common([summary, validated]).tested_on == "test data / validation data (0.1 of the training data)"


def test_runs_that_disagree_are_said_in_full(summary: dict[str, Any]) -> None:
    other = {**summary, "task_label_used": False}
    assert common([summary, summary]) == conditions(summary)
    assert common([summary, other, summary]).label == "yes / no"
