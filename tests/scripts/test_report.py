"""The command that reports on runs, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    script = str(ROOT / "scripts" / "report.py")
    return subprocess.run([sys.executable, script, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_it_prints_the_table_and_where_the_page_is(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.7, 0.8]):
        (tmp_path / str(seed)).mkdir()
        summary = {"status": "completed", "seed": seed, "average_accuracy": accuracy, "accuracy_matrix": [[accuracy]]}
        (tmp_path / str(seed) / "summary.json").write_text(json.dumps(summary))
        (tmp_path / str(seed) / "config.yaml").write_text(f"m: 1.5\nseed: {seed}\nstrategy: {{name: meta}}\n")
    done = command(str(tmp_path), "--out", str(tmp_path / "new" / "report"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["meta", "1.5", "2", "75.0", "±", "7.1", "–", "–", "–", "–"]
    assert lines[-1] == f"page: {tmp_path}/new/report/sweep.html"
    assert (tmp_path / "new" / "report" / "sweep.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: DIR"),
        (["no/such"], "no/such is no directory; give one that holds runs"),
        (["conf"], "conf: no run there or below (a run's directory holds summary.json)"),
        (["conf", "--oot", "x"], "unrecognized arguments: --oot x"),
    ],
)
def test_a_bad_argument_is_answered_in_one_line(arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


def test_help_names_every_argument_and_comes_without_the_heavy_imports() -> None:
    script = "import sys, runpy; runpy.run_path('scripts/report.py'); print({'torch', 'matplotlib'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert loaded.stdout == "set()\n"
    assert all(word in command("--help").stdout for word in ["DIR", "--out"])
