"""The name of each file is written once.

Keys of an earlier release: refused with the new name where they are typed, read where a run directory has them.
"""

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from metaplast.config.schema import SETTINGS
from metaplast.config.targets import TARGETS
from metaplast.runs import names
from metaplast.runs.index import read_run
from metaplast.runs.names import OLD_KEYS, OLD_TARGETS, translate_old_keys
from metaplast.runs.untrusted import SHIPPED

ROOT = Path(__file__).parents[2]
NAMES = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)} - {names.JOBS}
"""The name of that folder is a common word too."""
ELSEWHERE = {"src/metaplast/data/download.py", "src/metaplast/training/native_build.py"}
"""The folders of data and of compiled kernels have locks of their own; neither is a run directory."""


def literals(source: Path) -> list[str]:
    """The strings of a file, those inside f-strings too."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize("folder", ["src", "scripts"])
def test_no_other_file_spells_the_name_of_a_file(folder: str) -> None:
    stray = {
        f"{source.relative_to(ROOT)}: {text}"
        for source in (ROOT / folder).rglob("*.py")
        if source != Path(names.__file__) and str(source.relative_to(ROOT)) not in ELSEWHERE
        for text in literals(source)
        if text in NAMES or text.startswith("accuracy_matrix_") or text in {f"/{name}" for name in NAMES}
    }
    assert not stray


def test_the_last_checkpoint_is_one_of_the_pattern() -> None:
    assert Path(names.LAST_CHECKPOINT).match(names.ANY_LAST_CHECKPOINT)


Answers = Callable[..., Any]

VALUES = {
    "arm": "reference",
    "test_on": "validation",
    "validation_share": "0.2",
    "measure_every": "1",
    "only_tasks": "2",
    "figures": "[]",
    "strategy.stream": "joint",
    "model.init_width": "0.1",
}


def test_every_new_key_and_target_is_there() -> None:
    known = {*SETTINGS, "ablation", *(f"model.{key}" for key in TARGETS["metaplast.nn.models.bnn"])}
    assert {*OLD_KEYS.values()} <= known
    assert not {*OLD_KEYS} & known
    assert {*OLD_TARGETS.values()} <= {*TARGETS, *SHIPPED["plugin"]}


@pytest.mark.parametrize("start", ["", "+", "++"])
@pytest.mark.parametrize("key", OLD_KEYS)
def test_an_old_key_on_the_command_line_is_answered_with_the_new_one(
    key: str, start: str, answer: Answers, workplace: Path
) -> None:
    answered = answer(f"{start}{key}={VALUES[key]}")
    assert answered.status == 2
    assert re.search(rf"{re.escape(key)} is now {re.escape(OLD_KEYS[key])}\n$", answered.err), answered.err
    assert answered.err.startswith((f"{start}{key}={VALUES[key]}: ", f"{key}: ", f"{key}={VALUES[key]}: "))
    assert answered.err.count("\n") == 1
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("key", OLD_KEYS)
def test_so_is_one_in_a_users_file(
    key: str, answer: Answers, workplace: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = tmp_path_factory.mktemp("own")
    (own / "experiment").mkdir()
    section, _, leaf = key.rpartition(".")
    line = f"{section}: {{{leaf}: {VALUES[key]}}}" if section else f"{leaf}: {VALUES[key]}"
    text = "defaults: [{override /arm: reference}]" if key == "arm" else line
    (own / "experiment" / "t.yaml").write_text(f"# @package _global_\n{text}\n", encoding="utf-8")
    answered = answer("--config-dir", str(own), "experiment=t")
    assert answered.status == 2
    assert f"{key} is now {OLD_KEYS[key]}" in answered.err
    assert answered.err.count("\n") == 1
    assert list(workplace.iterdir()) == []


OLD = {
    "test_on": "validation",
    "only_tasks": None,
    "figures": ["tasks_by_m"],
    "model": {"_target_": "metaplast.nn.networks.bnn", "init_width": 0.05},
    "strategy": {"stream": "joint", "plugins": [{"_target_": "metaplast.strategies.ewc.ewc_plugin", "ewc_lambda": 1}]},
    "overrides": ["test_on=validation", "+strategy.stream=joint", "m=1"],
}
NEW = {
    "eval_split": "validation",
    "max_tasks": None,
    "plots": ["tasks_by_m"],
    "model": {"_target_": "metaplast.nn.models.bnn", "init_bound": 0.05},
    "strategy": {
        "task_order": "joint",
        "plugins": [{"_target_": "metaplast.strategies.plugins.ewc.ewc_plugin", "ewc_lambda": 1}],
    },
    "overrides": ["eval_split=validation", "+strategy.task_order=joint", "m=1"],
}


def test_a_saved_configuration_is_translated_and_a_new_one_is_left_alone() -> None:
    plain, config = yaml.safe_load(yaml.safe_dump(OLD)), OmegaConf.create({**OLD, "overrides": []})
    translate_old_keys(plain)
    translate_old_keys(config)
    assert plain == NEW
    assert OmegaConf.to_container(config) == {**NEW, "overrides": []}
    translate_old_keys(plain)
    assert plain == NEW


def test_an_old_run_directory_is_read_with_the_new_keys(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed": 0, **OLD}), encoding="utf-8")
    (tmp_path / "summary.json").write_text('{"status": "failed", "test_on": "validation"}', encoding="utf-8")
    run = read_run(tmp_path)
    assert run.summary["eval_split"] == "validation"
    assert run.settings["strategy.task_order"] == "joint"
    assert yaml.safe_load(run.config)["plots"] == ["tasks_by_m"]
