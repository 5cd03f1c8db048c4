"""The journal of a sweep: entries written, read back, and what is no entry."""

import json
import os
from pathlib import Path

import pytest

from metaplast.runs.journal import Job, Journal, queued
from metaplast.runs.summary import RunStatus


def test_an_entry_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    job = Job(3, ["m=1"], "3", "m=1").begun()
    journal.write(job)
    assert journal.job(3) == job
    assert (job.status, job.attempt, job.pid, job.ended) == (RunStatus.RUNNING, 1, os.getpid(), None)
    ended = job.over(RunStatus.FAILED, "ValueError: no")
    journal.write(ended)
    [read] = journal.jobs()
    assert (read.status, read.error, read.attempt) == (RunStatus.FAILED, "ValueError: no", 1)
    assert isinstance(read.status, RunStatus)
    assert (read.started or "") <= (read.ended or "")


def test_the_word_in_the_file_is_the_status(tmp_path: Path) -> None:
    Journal(tmp_path).write(Job(0, [], "0", status=RunStatus.KILLED))
    assert json.loads((tmp_path / "jobs" / "0.json").read_text())["status"] == "killed"


def test_jobs_are_listed_by_number(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in (10, 2, 0):
        journal.write(Job(number, [], str(number)))
    assert [job.number for job in journal.jobs()] == [0, 2, 10]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"number": 0, "status": "done"}', '{"status": "queued"}'])
def test_what_is_no_entry_is_left_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "0.json").write_text(content)
    assert Journal(tmp_path).jobs() == []
    assert Journal(tmp_path).job(0) is None


def test_the_command_is_kept_and_a_folder_without_a_journal_has_none(tmp_path: Path) -> None:
    assert Journal(tmp_path).about() == {}
    Journal(tmp_path).begin(["m=0,1"])
    assert Journal(tmp_path).about()["overrides"] == ["m=0,1"]


def test_jobs_are_told_apart_by_what_differs() -> None:
    jobs = queued({"4": ["strategy=meta", "m=0"], "5": ["strategy=meta", "m=1"]}, first=4)
    assert [(job.number, job.directory, job.shown) for job in jobs] == [(4, "4", "m=0"), (5, "5", "m=1")]
    assert jobs[0].words == "job 4 (m=0)"
