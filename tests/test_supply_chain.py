"""What is installed is what was locked, and no source loads what could run code."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DECLARED = [
    Requirement(text)
    for group in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    )
    for text in group
]
FLOORS = {
    "torch": "2.10",  # two holes of the restricted unpickler
    "pytorch-lightning": "2.6.4",
    "hydra-core": "1.3.8",  # its list of refused targets
}
"""Versions below which a hole is known."""


def locked(name: str = "requirements.lock") -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {
        canonicalize_name(found[1]): found[2] for found in re.finditer(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    }


@pytest.mark.parametrize("requirement", DECLARED, ids=str)
def test_what_is_locked_and_installed_keeps_to_the_floors(requirement: Requirement) -> None:
    assert locked()[canonicalize_name(requirement.name)] in requirement.specifier
    assert version(requirement.name) in requirement.specifier


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_the_floors_that_close_holes_stand(name: str, floor: str) -> None:
    [requirement] = [declared for declared in DECLARED if canonicalize_name(declared.name) == name]
    assert any(part.operator == ">=" and part.version == floor for part in requirement.specifier)


@pytest.mark.parametrize("name", ["requirements.lock", "uv.lock.txt"])
def test_every_entry_of_a_lock_file_has_a_hash_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+( ; [^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$", entry), entry[:80]
    assert "://" not in text


def test_the_makefile_installs_only_what_has_a_hash_with_a_pinned_uv() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [sync] = [line for line in makefile.splitlines() if "pip sync" in line]
    assert "--require-hashes" in sync
    assert f"UV_VERSION := {locked('uv.lock.txt')['uv']}" in makefile.splitlines()
    [install] = [line for line in makefile.splitlines() if "-m pip install" in line]
    assert "--require-hashes" in install
    assert "-r uv.lock.txt" in install


UNSAFE = {
    "torch.load", "torch.jit.load", "torch.hub.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load",
    "marshal.loads", "shelve.open", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "dill.load", "dill.loads",
    "pandas.read_pickle", "pd.read_pickle", "np.load", "numpy.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "eval", "exec",
}  # fmt: skip
ALLOWED = {
    "src/metaplast/sweep/process.py": {"cloudpickle.loads"},  # between a sweep and its own jobs, through pipes
    "src/metaplast/runs/index.py": {"yaml.load"},  # by the safe loader in C
}
SOURCES = sorted(path for folder in ("src", "scripts") for path in (ROOT / folder).rglob("*.py"))


def calls(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each call in a file, by the name as it is written there, with its keywords."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}


def test_no_source_loads_what_could_run_code() -> None:
    assert len(SOURCES) > 100
    found = []
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        for function, keywords in calls(path):
            if keywords.get("weights_only", "True") not in ("True", "weights_only"):
                found.append(f"{name}: {function}(weights_only={keywords['weights_only']})")
            if keywords.get("allow_pickle", "False") != "False":
                found.append(f"{name}: {function}(allow_pickle={keywords['allow_pickle']})")
            safe = keywords.get("weights_only") == "True" or keywords.get("allow_pickle") == "False"
            if function in UNSAFE and not safe and function not in ALLOWED.get(name, set()):
                found.append(f"{name}: {function}")
    assert found == []
