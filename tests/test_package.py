"""The wheel holds what a clone holds for its users, and `metaplast` runs from it in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources by the build backend that is installed."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("src", "conf"):
        shutil.copytree(
            ROOT / name, clone / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=clone, check=True, capture_output=True)
    [built] = (clone / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    """A folder of the wheel's files, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "unpacked")
    return wheel.parent / "unpacked"


def metadata(unpacked: Path) -> Message:
    [file] = unpacked.glob("*.dist-info/METADATA")
    return Parser().parsestr(file.read_text("utf-8"))


def test_the_wheel_holds_every_module_and_the_whole_configuration(unpacked: Path) -> None:
    package = ROOT / "src" / "metaplast"
    wanted = {path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    wanted |= {
        Path("conf") / path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.*") if path.is_file()
    }
    found = {path.relative_to(unpacked / "metaplast") for path in (unpacked / "metaplast").rglob("*") if path.is_file()}
    assert found == wanted
    assert {path.name for path in unpacked.iterdir()} == {"metaplast", "metaplast-0.1.0.dist-info"}


def test_the_metadata_agree_with_the_citation(unpacked: Path) -> None:
    citation: Any = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    about = metadata(unpacked)
    assert (about["Version"], about["License-Expression"]) == (citation["version"], citation["license"])
    assert about["Author"] == citation["authors"][0]["name"]
    assert about["Keywords"].split(",") == citation["keywords"]
    assert about["Project-URL"].endswith(citation["references"][0]["identifiers"][0]["value"].removeprefix("arXiv:"))
    supported = {line.rpartition(" ")[2] for line in about.get_all("Classifier", []) if "Python :: 3" in line}
    assert supported == {"3.11", "3.12", "3.13"}
    assert about["Requires-Python"] in ("<3.14,>=3.11", ">=3.11,<3.14")
    [entry] = unpacked.glob("*.dist-info/entry_points.txt")
    assert "metaplast = metaplast.__main__:main" in entry.read_text("utf-8").splitlines()


def test_the_command_reads_the_configuration_of_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    program = (
        "import metaplast.cli.commands.train as t, runpy, sys; print(t.CONF); sys.argv[1:] = ['train', '--help']; "
    )
    done = subprocess.run(
        [sys.executable, "-c", program + "runpy.run_module('metaplast', run_name='__main__')"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, *text = done.stdout.splitlines()
    assert first == str(unpacked / "metaplast" / "conf")
    assert "  metaplast train strategy=meta m=1.3 scenario=pmnist" in text
    assert "python src/train.py" not in done.stdout
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_the_installed_command_trains_and_reports_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel)], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # all but the metaplast of this clone
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for words in ("train experiment=look scenario.n_tasks=2", "report outputs/train", "reproduce --list"):
        done = subprocess.run(
            [str(environment / "bin" / "metaplast"), *words.split()],
            cwd=folder,
            env=clean,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"outputs"}
    [run_dir] = folder.glob("outputs/train/*/*/")
    assert (run_dir / "accuracy_matrix.csv").is_file()


def test_the_project_names_no_repository_it_does_not_have() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"authors", "keywords", "classifiers", "urls", "scripts", "license", "readme"} <= project.keys()
