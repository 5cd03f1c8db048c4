"""From a configuration node to an object: what arrives at a target, and how a wrong node is answered."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.config.instantiate import build, partial
from metaplast.errors import UserError


def network(input_shape: tuple[int, ...], hidden: list[int], activation: Any = None) -> tuple[Any, ...]:
    return input_shape, hidden, activation


def anything(**settings: Any) -> dict[str, Any]:
    return settings


def refusing() -> None:
    raise UserError("data_dir=x: holds no data")


def stumbling() -> None:
    raise KeyError("stumbled")


@pytest.fixture(autouse=True)
def importable() -> Iterator[None]:
    """The functions above, under the name `mine`."""
    module = types.ModuleType("mine")
    for function in (network, anything, refusing, stumbling):
        setattr(module, function.__name__, function)
    sys.modules["mine"] = module
    yield
    del sys.modules["mine"]


def model(**settings: Any) -> DictConfig:
    """The section `model` of a read-only configuration, as Hydra hands it over."""
    config = OmegaConf.create({"width": 3, "model": settings})
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    return config.model  # type: ignore[no-any-return]


def test_settings_arrive_as_plain_python_without_the_label() -> None:
    built = build(model(_target_="mine.network", name="label", hidden=["${width}", 4]), input_shape=(1, 2))
    assert built == ((1, 2), [3, 4], None)
    assert type(built[1]) is list


def test_what_only_the_run_knows_arrives_untouched() -> None:
    marker, listed = object(), [object()]
    built = build(model(_target_="mine.network", hidden=[]), input_shape=listed, activation=marker)
    assert built[0] is listed
    assert built[2] is marker


def test_a_partial_is_called_later_and_more_than_once() -> None:
    make = partial(model(_target_="mine.anything", lr=0.1))
    assert make(m=1) == {"lr": 0.1, "m": 1}
    assert make(m=2) == {"lr": 0.1, "m": 2}


def test_targets_inside_are_built_too() -> None:
    built = build(
        model(_target_="mine.network", hidden=[1], activation={"_target_": "mine.anything", "a": 1}), input_shape=()
    )
    assert built[2] == {"a": 1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden": [1]}, "model has no _target_"),
        ({"_target_": "mine.nothing"}, r"model._target_=mine.nothing cannot be used: .*"),
        ({"_target_": "no_such_package.f"}, "model._target_=no_such_package.f cannot be used: .*no_such_package"),
        ({"_target_": "os.system"}, "model._target_=os.system cannot be used: .*blocklisted"),
        (
            {"_target_": "mine.network", "hiden": [1]},
            "model.hiden is not taken by mine.network, which takes input_shape",
        ),
        ({"_target_": "mine.network"}, "model: mine.network cannot be called: missing a required argument: 'hidden'"),
        ({"_target_": "mine.refusing"}, "input_shape, given to every model, is not taken by mine.refusing"),
    ],
)
def test_a_wrong_node_is_answered_in_its_own_words(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        build(model(**settings), input_shape=())


def test_errors_of_a_target_come_as_they_are() -> None:
    with pytest.raises(UserError, match=r"^data_dir=x: holds no data$"):
        build(model(_target_="mine.refusing"))
    with pytest.raises(KeyError, match="stumbled"):
        build(model(_target_="mine.stumbling"))


@pytest.mark.parametrize(("inner", "error"), [("refusing", UserError), ("stumbling", KeyError)])
def test_errors_of_a_target_inside_come_as_they_are(inner: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        build(model(_target_="mine.anything", part={"_target_": f"mine.{inner}"}))
