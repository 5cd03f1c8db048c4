"""What `--help` prints: all there is to choose from."""

import re
from pathlib import Path

from metaplast.config.help import WIDTH, choices, groups, help_text


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
