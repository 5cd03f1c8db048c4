"""summary.json: written with the number of its format, and older formats read back.

The one vocabulary for the status of a run.
"""

import json
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.runs.index import read_run
from metaplast.runs.summary import FORMAT, RunStatus, read_summary, write_summary
from metaplast.runs.tables import accuracies, read_baseline, read_histograms, read_matrix_csv, read_metrics

FORMAT_1 = Path(__file__).parents[1] / "data_files" / "run_format_1"
"""The directory of a run, as the code before the format's number left it."""


def test_what_is_written_is_read_back_with_the_number_of_its_format(tmp_path: Path) -> None:
    write_summary(tmp_path, {"status": RunStatus.RUNNING, "m": [0.5, 1]})
    summary = read_summary(tmp_path)
    assert len(summary.pop("sha256")) == 64
    assert summary == {"format": FORMAT, "status": "running", "m": [0.5, 1]}


def test_every_changed_bit_of_a_summary_is_found_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_summary(tmp_path, {"status": RunStatus.FAILED, "m": [0.5, 1], "error": "ValueError: no"})
    path = tmp_path / "summary.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 7
        path.write_bytes(bytes(damaged))
        caplog.clear()
        if json_or_none(bytes(damaged)) != json.loads(whole):  # white space may differ
            assert read_summary(tmp_path) == {} or not caplog.records, position
            assert caplog.records or read_summary(tmp_path).get("format") != FORMAT
            assert read_run(tmp_path).status is RunStatus.UNREADABLE, position


def json_or_none(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", "\xff"])
def test_a_missing_or_broken_summary_is_empty(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_bytes(content.encode("latin-1"))
    assert read_summary(tmp_path) == {}


@pytest.mark.parametrize("number", [0, 4, "3", None, True, 2.0])
def test_a_format_of_another_version_is_refused(tmp_path: Path, number: object) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"format": number, "status": "completed"}))
    with pytest.raises(UserError, match=rf"^format={number}: expected 1 to 3 in {tmp_path}/summary.json, got that of"):
        read_summary(tmp_path)
    run = read_run(tmp_path)
    assert run.status is RunStatus.UNREADABLE
    assert (run.error or "").startswith(f"format={number}: expected 1 to 3")


def test_a_run_of_format_1_is_read_in_full() -> None:
    summary = read_summary(FORMAT_1)
    run = read_run(FORMAT_1)
    assert "format" not in summary
    assert (run.status, run.error, run.seed) == (RunStatus.COMPLETED, None, 3)
    assert (run.settings["m"], run.settings["model.hidden"]) == (2.0, "[8]")
    R = read_matrix_csv(FORMAT_1 / "accuracy_matrix.csv")
    assert R.tolist() == summary["accuracy_matrix"]
    rows = read_metrics(FORMAT_1 / "metrics.csv")
    assert [accuracies(row) for row in rows] == summary["accuracy_matrix"]
    assert read_baseline(FORMAT_1 / "metrics.csv") == summary["accuracy_before_training"]
    histograms = read_histograms(FORMAT_1 / "hidden_weights.npz")
    assert {len(values) for values in histograms.values()} == {2}


def test_json_has_the_plain_word() -> None:
    assert json.dumps({"status": RunStatus.COMPLETED}) == '{"status": "completed"}'
    assert RunStatus("lost") is RunStatus.LOST
    assert f"{RunStatus.KILLED}" == "killed"


def test_another_word_is_no_status() -> None:
    with pytest.raises(ValueError, match="'finished' is not a valid RunStatus"):
        RunStatus("finished")


def test_nothing_is_done_and_broken_off() -> None:
    assert not [status for status in RunStatus if status.is_done and status.is_broken_off]
