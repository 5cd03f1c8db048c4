"""The one vocabulary for the status of a run."""

import json

import pytest

from metaplast.runs.status import RunStatus


def test_json_has_the_plain_word() -> None:
    assert json.dumps({"status": RunStatus.COMPLETED}) == '{"status": "completed"}'
    assert RunStatus("lost") is RunStatus.LOST
    assert f"{RunStatus.KILLED}" == "killed"


def test_another_word_is_no_status() -> None:
    with pytest.raises(ValueError, match="'finished' is not a valid RunStatus"):
        RunStatus("finished")


def test_nothing_is_done_and_broken_off() -> None:
    assert not [status for status in RunStatus if status.is_done and status.is_broken_off]
