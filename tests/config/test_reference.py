"""The files that are generated from the schema are not stale, and the one for editors accepts what conf/ holds.

`--help` prints all there is to choose from.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator

from metaplast.config.reference import WIDTH, choices, groups, help_text, json_schema, settings_page
from metaplast.config.schema import SETTINGS
from metaplast.config.targets import TARGETS

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
FILES = [path for path in sorted(CONF.rglob("*.yaml")) if "hydra" not in path.relative_to(CONF).parts]


def errors(kind: str, node: Any) -> list[str]:
    schema = json_schema()
    validator = Draft202012Validator({**schema, "anyOf": [{"$ref": f"#/$defs/{kind}"}]})
    return [error.message for error in validator.iter_errors(node)]


def kind_of(path: Path) -> str:
    text, group = path.read_text(encoding="utf-8"), path.relative_to(CONF).parts[0]
    return "global" if "# @package _global_" in text or group == "train.yaml" else group


def test_both_files_are_as_the_schema_has_them() -> None:
    how = "run python scripts/settings_page.py"
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page(CONF), how
    assert json.loads((CONF / "schema.json").read_text(encoding="utf-8")) == json_schema(), how


def test_the_page_explains_every_setting() -> None:
    page = settings_page(CONF)
    for key, setting in SETTINGS.items():
        assert f"| `{key}` |" in page
        assert setting.text in page
    for settings in TARGETS.values():
        for name, setting in settings.items():
            assert f".{name}` |" in page
            assert setting.text.replace("|W^h|", "\\|W^h\\|") in page


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_of_the_configuration_is_valid(path: Path) -> None:
    assert errors(kind_of(path), yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("global", "epoch_per_task: 1"),
        ("global", "epochs_per_task: 0"),
        ("global", "seed: text"),
        ("global", "model: {hiden: [3]}"),
        ("global", "trainer: {thread: 2}"),
        ("global", "strategy: {optimizer: {lr: -1}}"),
        ("global", "strategy: {reset_optimzer: true}"),
        ("trainer", "precision: 8"),
        ("logger", "tag: [a]"),
        ("scenario", "{_target_: metaplast.scenarios.permuted_mnist, n_task: 3}"),
        ("strategy", "alpha: high"),
    ],
)
def test_a_wrong_file_is_marked_in_an_editor(kind: str, content: str) -> None:
    assert errors(kind, yaml.safe_load(content)) != []


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("scenario", "{_target_: mine.stream, depth: 3}"),
        ("strategy", "{strength: 3, plugins: [{_target_: mine.Plugin, strength: '${strategy.strength}'}]}"),
        ("global", "m: ${by:strategy.name,{meta:1.35},null}"),
    ],
)
def test_targets_of_ones_own_and_interpolations_are_not(kind: str, content: str) -> None:
    assert errors(kind, yaml.safe_load(content)) == []


def test_every_choice_and_every_setting_is_listed(conf: Path) -> None:
    text = help_text(conf)
    for group in groups(conf):
        assert re.search(rf"^  {group} ", text, re.MULTILINE)
        for choice in choices(conf, group):
            assert re.search(rf"[ *] {choice}( |$)", text, re.MULTILINE)
    for setting in ("m=null", "seed=0", "epochs_per_task=", "batch_size=", "data_dir=", "resume=null"):
        assert f"\n  {setting}" in text


def test_the_defaults_are_marked(conf: Path) -> None:
    marked = re.findall(r"^.{17}\* (\w+)", help_text(conf), re.MULTILINE)
    assert marked == ["pmnist", "bnn", "meta", "auto", "wandb"]


def test_no_line_is_too_long_for_a_terminal(conf: Path) -> None:
    assert max(map(len, help_text(conf).splitlines())) <= WIDTH
