"""The sweeps for W&B's agents are the searches of conf/hparams_search, and every run of theirs is one of ours."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir

from metaplast.config.validate import check

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "hparams_search").glob("*.yaml"))


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def hydra_range(parameter: dict[str, Any]) -> tuple[bool, float, float]:
    return parameter["distribution"] == "log_uniform_values", float(parameter["min"]), float(parameter["max"])


def searched(space: str) -> tuple[bool, float, float]:
    found = re.fullmatch(r"(tag\(log, )?interval\(([\d.e-]+), ([\d.e-]+)\)\)?", space)
    assert found, space
    return bool(found[1]), float(found[2]), float(found[3])


def test_there_is_a_sweep_for_every_search() -> None:
    assert NAMES
    assert sorted(path.stem for path in (ROOT / "scripts" / "sweeps").glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_searches_what_the_search_of_its_name_does(name: str) -> None:
    search, sweep = read(f"conf/hparams_search/{name}.yaml"), read(f"scripts/sweeps/{name}.yaml")
    assert {"override /strategy": name} in search["defaults"]
    assert f"strategy={name}" in sweep["command"]
    assert "eval_split=validation" in sweep["command"]
    space = {key: searched(value) for key, value in search["search"]["space"].items()}
    assert {key: hydra_range(value) for key, value in sweep["parameters"].items()} == space


@pytest.mark.parametrize("end", ["min", "max"])
@pytest.mark.parametrize("name", NAMES)
def test_what_an_agent_types_is_a_run_of_ours(name: str, end: str) -> None:
    sweep = read(f"scripts/sweeps/{name}.yaml")
    assert (ROOT / sweep["program"]).is_file()
    assert (sweep["command"][:3], sweep["command"][-1]) == (["${env}", "python", "${program}"], "${args_no_hyphens}")
    arguments = [*sweep["command"][3:-1], *(f"{key}={value[end]}" for key, value in sweep["parameters"].items())]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", arguments, return_hydra_config=True)
    check(config)
    assert (config.eval_split, config.logger.mode, config.strategy.name) == ("validation", "online", name)
