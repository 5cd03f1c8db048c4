"""From a configuration node to an object: what arrives at a target, and how a wrong node is answered."""

import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.config.instantiate import Kind, build, partial
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


class Network:
    """What a kind asks for."""

    def __init__(self, width: int = 1) -> None:
        self.width = width


NETWORK = Kind("a network", lambda kind: issubclass(kind, Network), ("input_shape", "n_classes"))


def says() -> Network:
    return Network()


def says_either() -> "Network | None":
    return Network()


def says_other() -> str:
    raise AssertionError("called")


def takes_all(input_shape: Any, n_classes: int) -> Any:
    return input_shape, n_classes


def takes_anything(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("called")


@pytest.mark.parametrize("name", ["os.getcwd", "builtins.dict", "builtins.print", "pathlib.Path", "mine.says_other",
                                  "mine.says_either", "mine.takes_anything", "mine.stumbling", "mine.marker",
                                  "torch.utils.collect_env.run", "threading.Thread"])  # fmt: skip
def test_what_is_of_another_kind_is_never_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in (says_other, says_either, takes_anything):
        monkeypatch.setattr(sys.modules["mine"], target.__name__, target, raising=False)
    monkeypatch.setattr(sys.modules["mine"], "marker", functools.partial(stumbling), raising=False)
    for make in (build, partial):
        with pytest.raises(UserError, match=rf"^model\._target_={name}: expected a network: .*it was not called$"):
            make(model(_target_=name, part={"_target_": "mine.stumbling"}), NETWORK)


def test_a_class_of_the_kind_or_a_function_that_says_so_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for target in (Network, says, takes_all):
        monkeypatch.setattr(sys.modules["mine"], target.__name__, target, raising=False)
    assert build(model(_target_="mine.Network", width=3), NETWORK).width == 3
    assert isinstance(build(model(_target_="mine.says"), NETWORK), Network)
    assert build(model(_target_="mine.takes_all"), NETWORK, input_shape=1, n_classes=2) == (1, 2)
