"""Checking a configuration: all that conf/ offers passes, and what is the user's own is left alone."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, open_dict

from metaplast.config.constraints import shown
from metaplast.config.reference import choices
from metaplast.config.validate import REHEARSING, check, warnings
from metaplast.errors import UserError

Compose = Callable[..., DictConfig]
CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("model", "strategy"), list(itertools.product(choices(CONF, "model"), choices(CONF, "strategy")))
)
def test_every_model_goes_with_every_strategy(model: str, strategy: str, composed: Compose) -> None:
    config = composed(f"model={model}", f"strategy={strategy}")
    check(config)
    said = warnings(config)
    rehearses = strategy in REHEARSING and config.model.norm_per_task
    assert [warning.partition(" shows")[0] for warning in said] == ([f"strategy={strategy}"] if rehearses else [])
    assert warnings(composed(f"model={model}", f"strategy={strategy}", "model.norm_per_task=false")) == []


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={choice}"
        for group in ("scenario", "trainer", "logger", "experiment")
        for choice in choices(CONF, group)
    ],
)
def test_every_other_choice_can_be_run(choice: str, composed: Compose) -> None:
    check(composed(choice))


def test_a_target_of_ones_own_may_take_any_arguments(composed: Compose) -> None:
    config = composed()
    with open_dict(config):
        config.model = {"_target_": "mine.network", "hidden": "wide", "depth": -1}
        config.scenario = {"_target_": "mine.stream", "name": "mine", "n_tasks": "many"}
        config.strategy.optimizer = {"_target_": "torch.optim.SGD", "lr": "${seed}"}
        config.m = [1, 2, 3, 4, 5]
    check(config)


def test_a_configuration_without_hydras_section_is_checked_as_well(composed: Compose) -> None:
    config = composed()
    with open_dict(config):
        del config["hydra"]
        check(config)
        config.m = -1
    with pytest.raises(UserError, match=r"^m=-1: "):
        check(config)


def test_what_hydra_knows_only_later_is_left_to_it(composed: Compose) -> None:
    check(composed("logger.run_name=${hydra:job.num}"))


@pytest.mark.parametrize(
    ("overrides", "n_layers"),
    [
        (["model=bnn"], 3),
        (["model=mlp", "model.hidden=[4]"], 2),
        (["model=bcnn"], 4),
        (["model.hidden=[]"], 1),
        (["model=vgg", "model.channels=[4,4]", "model.hidden=[8]"], 4),
    ],
)
def test_a_list_for_m_has_one_number_a_weight_layer(overrides: list[str], n_layers: int, composed: Compose) -> None:
    for n in range(6):
        config = composed(*overrides, f"m={shown([0.5] * n)}")
        if n == n_layers:
            check(config)
        else:
            with pytest.raises(
                UserError, match=f"expected one number per weight layer, {n_layers} with model.*, got {n}$"
            ):
                check(config)


@given(epochs=st.integers(1, 60), every=st.integers(1, 60))
def test_measurements_have_to_fall_on_the_ends_of_tasks(epochs: int, every: int) -> None:
    config = _example()
    config.epochs_per_task, config.eval_every_n_epochs = epochs, every
    if epochs % every == 0:
        check(config)
    else:
        with pytest.raises(
            UserError, match=f"^eval_every_n_epochs={every}: expected a divisor of epochs_per_task={epochs}"
        ):
            check(config)


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["batch_size=1", "model.norm=layer"], False),
        (["batch_size=1", "model=bcnn"], True),
        (["batch_size=1", "model=mlp"], True),
        (["eval_batch_size=1", "model.test_statistics=population"], False),
        (["eval_batch_size=1"], True),
    ],
)
def test_a_batch_of_one_is_refused_where_it_has_no_variance(
    overrides: list[str], refused: bool, composed: Compose
) -> None:
    if refused:
        with pytest.raises(UserError, match="batch_size=1: expected 2 or more"):
            check(composed(*overrides))
    else:
        check(composed(*overrides))


@pytest.mark.parametrize("strategy", ["agem", "der", "gem"])
def test_double_precision_does_not_go_with_a_memory_of_single(strategy: str, composed: Compose) -> None:
    check(composed(f"strategy={strategy}"))
    with pytest.raises(UserError, match=rf"trainer\.precision=64-true: does not go with strategy={strategy}"):
        check(composed(f"strategy={strategy}", "trainer.precision=64-true"))


def _example() -> DictConfig:
    """A configuration by hand, with nothing composed: the smallest that can be run."""
    return DictConfig(
        {
            "m": 0.5,
            "seed": 0,
            "epochs_per_task": 1,
            "batch_size": 10,
            "eval_batch_size": 10,
            "eval_every_n_epochs": 1,
            "eval_split": "test",
            "val_fraction": 0.1,
            "max_tasks": None,
            "data_dir": "data",
            "resume": None,
            "scenario": {"_target_": "mine.stream"},
            "model": {"_target_": "mine.network"},
            "strategy": {
                "uses_m": True,
                "task_order": "sequence",
                "reset_optimizer": False,
                "optimizer": {"_target_": "mine.optimizer"},
                "plugins": [],
            },
            "trainer": {
                "accelerator": "cpu",
                "threads": 1,
                "compile": False,
                "precision": "32-true",
                "checkpoint_every": 1,
                "progress": "none",
            },
            "logger": {"name": "none"},
        }
    )
