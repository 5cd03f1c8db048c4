"""The name of each file is written once."""

import ast
from pathlib import Path

import pytest

from metaplast.runs import paths

ROOT = Path(__file__).parents[2]
NAMES = {value for name, value in vars(paths).items() if name.isupper()} - {paths.JOBS}
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
        if source != Path(paths.__file__) and str(source.relative_to(ROOT)) not in ELSEWHERE
        for text in literals(source)
        if text in NAMES or text.startswith("accuracy_matrix_") or text in {f"/{name}" for name in NAMES}
    }
    assert not stray


def test_the_last_checkpoint_is_one_of_the_pattern() -> None:
    assert Path(paths.LAST_CHECKPOINT).match(paths.ANY_LAST_CHECKPOINT)
