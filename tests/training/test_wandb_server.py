"""Asking for a W&B server takes a few seconds at most, and never asks the user anything."""

import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.training.wandb_server import PROBE_SECONDS, answers, require_credentials


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_without_an_api_key_the_error_says_what_to_do(wandb_nobody: Path) -> None:
    with pytest.raises(UserError, match=r"`wandb login` or set WANDB_API_KEY, or take logger=wandb") as caught:
        require_credentials()
    assert "\n" not in str(caught.value)


def test_wandb_mode_offline_does_not_hide_the_api_key_of_one_who_asks_for_online(
    wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert require_credentials() == "http://127.0.0.1:9"


def test_an_api_key_in_netrc_is_found(wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (wandb_nobody / "netrc").write_text(f"machine 127.0.0.1:9 login user password {'a' * 40}\n")
    assert require_credentials() == "http://127.0.0.1:9"


def test_a_malformed_api_key_is_a_user_error(wandb_nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    with pytest.raises(UserError, match="WANDB_API_KEY invalid"):
        require_credentials()


def test_not_even_a_terminal_is_asked(wandb_nobody: Path) -> None:
    ours, theirs = pty.openpty()
    program = "from metaplast.training.wandb_server import require_credentials; require_credentials()"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    try:
        assert process.wait(timeout=30) == 1  # a prompt would wait for ever
        shown = os.read(ours, 1 << 16).decode()
    finally:
        process.kill()
        os.close(ours)
    assert "UserError: logger.mode=online: W&B finds no API key" in shown


def test_a_server_that_answers_is_found_whatever_it_answers(listener: socket.socket) -> None:
    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    assert answers(address(listener))
    thread.join()


def test_a_silent_server_is_given_up_in_time(listener: socket.socket) -> None:
    start = time.monotonic()
    assert not answers(address(listener))
    assert time.monotonic() - start < PROBE_SECONDS + 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid", "nonsense"])
def test_no_server_is_no_answer(url: str) -> None:
    assert not answers(url)
