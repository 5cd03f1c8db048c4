"""The page about Avalanche's plugins says what the code gives."""

from pathlib import Path

import pytest

from metaplast.testing.plugin_docs import CASES, exported_plugins, page

ROOT = Path(__file__).parents[2]


def test_every_exported_plugin_is_tried() -> None:
    assert exported_plugins() == list(CASES)


@pytest.mark.filterwarnings(
    "ignore"
)  # whatever thirty plugins of Avalanche's have to say about torch, NumPy and themselves
def test_the_page_is_what_the_code_gives() -> None:
    assert (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8") == page(), "run python scripts/plugin_table.py"
