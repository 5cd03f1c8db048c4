"""The script lists claims, rejects wrong arguments, does not run complete claims again and resumes interrupted ones."""

import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metaplast.cli.commands import reproduce
from metaplast.errors import UserError
from metaplast.runs.journal import Job, Journal
from metaplast.runs.summary import RunStatus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script() -> ModuleType:
    return reproduce


def test_the_list_says_what_has_been_run_here(script: ModuleType, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "cpu" / "quadratic"
    folder.mkdir(parents=True)
    (folder / "quadratic.json").write_text('{"runs": []}')
    assert script.main(["--list", "--outputs", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["quadratic"].endswith("[cpu]")
    assert lines["fig2"].endswith("[not run here]")


@pytest.mark.parametrize(
    ("arguments", "said"), [(["fig9"], "NAME=fig9: expected one of fig2, "), (["--budget", "gpu"], "gpu")]
)
def test_wrong_arguments_are_rejected_in_one_line(
    script: ModuleType, arguments: list[str], said: str, capsys: Any
) -> None:
    try:
        status = script.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_complete_claim_is_not_run_again_and_the_page_is_written(
    script: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "cpu" / "quadratic"
    folder.mkdir(parents=True)
    runs = [{"seed": seed, "speed_correlation": 1.0, "bin_rank_correlation": 1.0} for seed in range(3)]
    (folder / "quadratic.json").write_text(json.dumps({"runs": runs}))
    arguments = ["quadratic", "--budget", "paper", "--outputs", str(tmp_path), "--docs", str(tmp_path / "docs")]
    assert script.main(arguments) == 0
    assert f"quadratic: complete in {folder}" in capsys.readouterr().out
    assert "**held**" in (tmp_path / "docs" / "results.md").read_text("utf-8")


def test_an_interrupted_sweep_is_resumed(script: ModuleType, tmp_path: Path) -> None:
    words = ["src/train.py", "experiment=fig2", f"hydra.sweep.dir={tmp_path}"]
    assert script.resume_words(words) == words
    (tmp_path / "sweep.json").write_text("{}")
    assert script.resume_words(words) == [*words, "resume=true"]


def test_a_single_run_is_resumed_by_its_directory_unless_complete(script: ModuleType, tmp_path: Path) -> None:
    words = ["src/train.py", "experiment=sign_switch", f"hydra.run.dir={tmp_path}"]
    assert script.resume_words(words) == words
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert script.resume_words(words) == ["src/train.py", f"resume={tmp_path}"]
    (tmp_path / "summary.json").write_text(
        json.dumps({"status": "completed", "average_accuracy": 0.9, "accuracy_matrix": [[0.9]]})
    )
    assert script.resume_words(words) == []


@pytest.mark.parametrize("key", ["hydra.sweep.dir", "hydra.run.dir"])
def test_files_that_are_no_run_are_named_and_kept(script: ModuleType, tmp_path: Path, key: str) -> None:
    (tmp_path / ".lock").touch()
    with pytest.raises(
        UserError, match=r"expected a run to resume or an empty folder, got other files; move them away"
    ):
        script.resume_words(["src/train.py", "experiment=fig2", f"{key}={tmp_path}"])
    assert (tmp_path / ".lock").exists()


def test_a_claim_that_cannot_be_resumed_does_not_affect_the_others(
    script: ModuleType, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu" / "fig2").mkdir(parents=True)
    (tmp_path / "cpu" / "fig2" / "leftover").touch()
    quadratic = tmp_path / "cpu" / "quadratic"

    def run_it(words: list[str], **options: Any) -> Any:
        quadratic.mkdir()
        (quadratic / "quadratic.json").write_text('{"runs": [{"speed_correlation": 1, "bin_rank_correlation": 1}]}')
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, "run", run_it)
    arguments = ["fig2", "quadratic", "--outputs", str(tmp_path), "--docs", str(tmp_path / "docs")]
    assert script.main(arguments) == 1
    folder = tmp_path / "cpu" / "fig2"
    assert capsys.readouterr().err.splitlines() == [
        f"error: {folder}: expected a run to resume or an empty folder, got other files; move them away",
        "failed: fig2; the same command resumes them",
    ]
    assert (quadratic / "quadratic.json").exists()


def test_a_complete_claim_without_its_numbers_does_not_affect_the_others(
    script: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    for name, numbers in (("quadratic", {"speed_correlation": 1, "bin_rank_correlation": 1}), ("sign_switch", {})):
        (tmp_path / "cpu" / name).mkdir(parents=True)
        (tmp_path / "cpu" / name / f"{name}.json").write_text(json.dumps({"runs": [numbers]}))
    (tmp_path / "cpu" / "sign_switch" / "sign_switch.png").touch()
    assert script.main(["--write-only", "--outputs", str(tmp_path), "--docs", str(tmp_path / "docs")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: sign_switch: expected the runs that it is judged by in ")
    assert err.count("\n") == 1
    assert "**one seed: points this way**" in (tmp_path / "docs" / "results.md").read_text("utf-8")


def test_the_page_goes_to_the_docs_of_a_clone_and_elsewhere_to_the_results(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert script.parse(["--outputs", "mine"]).docs == Path("mine")
    monkeypatch.chdir(ROOT)
    assert script.parse([]).docs == Path("docs")


def test_a_complete_claim_names_the_missing_claim_that_it_is_compared_with(
    script: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    Journal(tmp_path / "cpu" / "fig2_mlp").write(Job(0, [], "0", status=RunStatus.COMPLETED))
    assert script.main(["--write-only", "--outputs", str(tmp_path), "--docs", str(tmp_path / "docs")]) == 1
    said = "error: fig2_mlp: expected the complete claim fig2 to compare with, got none\n"
    assert capsys.readouterr().err == said


def test_a_page_that_cannot_be_written_is_refused_before_anything_runs(
    script: ModuleType, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []

    def run_it(words: list[str], **options: Any) -> Any:
        ran.append(words)
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(subprocess, "run", run_it)
    (tmp_path / "file").touch()
    docs = tmp_path / "file" / "docs"
    assert script.main(["quadratic", "--outputs", str(tmp_path / "outputs"), "--docs", str(docs)]) == 2
    assert capsys.readouterr().err == f"error: --docs {docs / 'results.md'} cannot be written: Not a directory\n"
    assert ran == []


def test_a_failing_command_is_reported(script: ModuleType, tmp_path: Path) -> None:
    assert not script.run(["scripts/report.py {out}/nowhere"], tmp_path / "x", "cpu", [])
