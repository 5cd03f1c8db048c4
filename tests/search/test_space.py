"""What a command line makes of a search space."""

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metaplast.errors import UserError
from metaplast.search.space import plan

READY = {"m": "interval(0, 4)", "strategy.optimizer.lr": "tag(log, interval(0.001, 0.1))"}
M, LR = FloatDistribution(0, 4), FloatDistribution(0.001, 0.1, log=True)


@pytest.mark.parametrize(
    ("given", "fixed", "space"),
    [
        (["seed=1"], ["seed=1"], {"m": M, "strategy.optimizer.lr": LR}),
        (["m=1.5"], ["m=1.5"], {"strategy.optimizer.lr": LR}),
        (["m=interval(1,2)"], [], {"m": FloatDistribution(1, 2), "strategy.optimizer.lr": LR}),
        (["m=0,1.5"], [], {"m": CategoricalDistribution(["0", "1.5"]), "strategy.optimizer.lr": LR}),
        (
            ["m=1", "batch_size=int(interval(10, 100))", "model.hidden=[8],[8,8]"],
            ["m=1"],
            {
                "strategy.optimizer.lr": LR,
                "batch_size": IntDistribution(10, 100),
                "model.hidden": CategoricalDistribution(["[8]", "[8,8]"]),
            },
        ),
        (["epochs_per_task=range(1,4)", "m=0"], ["m=0"], {
            "strategy.optimizer.lr": LR, "epochs_per_task": CategoricalDistribution(["1", "2", "3"])}),
    ],
)  # fmt: skip
def test_a_range_replaces_the_ready_one_and_a_value_fixes_it(
    given: list[str], fixed: list[str], space: dict[str, BaseDistribution]
) -> None:
    assert plan(READY, given) == (fixed, space)


def test_null_leaves_a_ready_range_out() -> None:
    assert plan({**READY, "m": None}, []).space == {"strategy.optimizer.lr": LR}


@pytest.mark.parametrize(
    ("ready", "given", "said"),
    [
        ({}, [], r"^search\.space: is empty"),
        (READY, ["m=1", "strategy.optimizer.lr=0.01"], r"^search\.space: is empty"),
        ({"m": "1"}, [], r"^search\.space\.m=1: expected a range"),
        (READY, ["seed=0,1"], r"^seed: cannot be searched, since a search would choose the luckiest one$"),
        (READY, ["eval_split=test,validation"], r"^eval_split: cannot be searched"),
        (READY, ["m=interval(4,0)"], r"^m=interval\(4,0\): expected an interval from a lower to a higher number"),
        (READY, ["m=tag(log,interval(0,4))"], r"with log from above 0$"),
        (READY, ["strategy=glob(*)"], r"^strategy=glob\(\*\): a search takes"),
    ],
)
def test_what_cannot_be_searched_is_said(ready: dict[str, str | None], given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan(ready, given)
