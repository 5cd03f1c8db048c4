"""Every scenario that can be chosen has the arguments of its target, with values that the table of settings allows."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import get_method
from omegaconf import OmegaConf

from metaplast.config.targets import TARGETS

CONF = Path(__file__).parents[2] / "conf" / "scenario"
FROM_THE_RUN = {"seed", "data_dir"}


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_choice_is_a_target_with_all_of_its_arguments(path: Path) -> None:
    choice = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(choice, dict)
    target = str(choice.pop("_target_"))
    assert choice.pop("name") == path.stem
    parameters = inspect.signature(get_method(target)).parameters
    assert {*TARGETS[target]} == {*parameters} - FROM_THE_RUN
    optional = {key for key, parameter in parameters.items() if parameter.default is not parameter.empty}
    assert {*parameters} - FROM_THE_RUN - optional <= {*choice} <= {*parameters}
    assert [key for key, value in choice.items() if not TARGETS[target][str(key)].constraint.is_valid(value)] == []


def test_no_target_of_a_scenario_goes_without_a_choice() -> None:
    targets = {OmegaConf.select(OmegaConf.load(path), "_target_") for path in CONF.glob("*.yaml")}
    assert {target for target in TARGETS if target.startswith("metaplast.scenarios.")} == targets
