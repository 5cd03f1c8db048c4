"""A report on folders from anywhere: none stops it, none is followed out of itself, none exhausts the machine."""

import io
import json
import os
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from metaplast.errors import UserError
from metaplast.report.report import report_sweep
from metaplast.runs.directory import lock_run_dir
from metaplast.runs.index import is_locked, read_run
from metaplast.runs.tables import read_histograms, read_matrix_csv, read_metrics

SUMMARIES: dict[str, Any] = {
    "no object": "[1]",
    "a word": '"x"',
    "cut": '{"status": "compl',
    "deep": "[" * 100_000,
    "deep within": '{"a": ' * 50_000,
    "a long number": '{"seed": ' + "9" * 10_000 + "}",
    "binary": "\x00\x01",
    "status": {"status": ["completed"]},
    "error": {"status": "failed", "error": {"a": 1}},
    "overrides": {"overrides": [1, {"a": 2}]},
    "versions": {"versions": "x"},
    "matrix a text": {"accuracy_matrix": "x"},
    "matrix of texts": {"accuracy_matrix": [["x"]]},
    "matrix ragged": {"accuracy_matrix": [[0.1, 0.2], [0.1]]},
    "matrix of no square": {"accuracy_matrix": [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]},
    "matrix of objects": {"accuracy_matrix": [{}]},
    "matrix of empty rows": {"accuracy_matrix": [[]]},
    "no score": {"average_accuracy": None},
    "score a text": {"average_accuracy": "0.9"},
    "score a list": {"forgetting": [0.1]},
    "seconds": {"train_seconds": {}},
    "baseline": {"accuracy_before_training": [["x"]]},
    "strategy": {"strategy": {"a": 1}},
    "labels": {"wandb": {"name": "x", "run_id": "y"}},
    "labels of another kind": {"wandb": {"name": "x", "tags": [1]}},
}
"""By what is wrong with it: a summary.json as a text, or entries of one that is completed."""


def test_one_bad_folder_never_stops_the_report(tmp_path: Path, lay_run: Callable[..., Path]) -> None:
    for seed in range(2):
        lay_run(tmp_path / f"good-{seed}", seed=seed)
    for n, content in enumerate(SUMMARIES.values()):
        run = lay_run(tmp_path / f"bad-{n}", m=7.0)
        summary = run / "summary.json"
        good: dict[str, Any] = json.loads(summary.read_text())
        summary.write_text(content if isinstance(content, str) else json.dumps(good | content))
    for n, key in enumerate(good):
        summary = lay_run(tmp_path / f"without-{n}", m=7.0) / "summary.json"
        summary.write_text(json.dumps({name: value for name, value in good.items() if name != key}))
    configs = [
        "a: &a [1]\nb: [*a, *a]",
        "[" * 5000,
        "a: " + "x" * 300_000,
        "- 1",
        "x",
        "a: !!python/name:os.system",
        "\0",
    ]
    for n, text in enumerate(configs):
        (lay_run(tmp_path / f"config-{n}", m=7.0) / "config.yaml").write_text(text)
    linked = ["config.yaml", "summary.json", "metrics.csv", ".lock"]
    for n, name in enumerate(linked):
        for target in ("/dev/zero", "/etc/passwd", "pipe"):
            run = lay_run(tmp_path / f"linked-{n}-{Path(target).name}", status="failed", m=7.0)
            os.mkfifo(run / "pipe")
            (run / name).unlink()
            (run / name).symlink_to(target)
    memory, begun, out = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic(), io.StringIO()
    page = report_sweep([tmp_path], tmp_path / "report", Console(file=out, width=200))
    assert page.exists()
    assert time.monotonic() - begun < 60  # for 40 folders, with pictures, on a machine that others use
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1_000_000  # KiB
    rows = (tmp_path / "report" / "sweep.csv").read_text().splitlines()
    assert len(rows) >= 2
    assert "root:" not in page.read_text()


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_that_is_none_makes_the_run_unreadable(
    name: str, tmp_path: Path, lay_run: Callable[..., Path]
) -> None:
    run, content = lay_run(tmp_path / "run"), SUMMARIES[name]
    good: dict[str, Any] = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(content if isinstance(content, str) else json.dumps(good | content))
    read = read_run(run)
    assert read.status == "unreadable"
    assert read.error is not None
    assert "\n" not in read.error


@pytest.mark.parametrize(
    "text",
    ["epoch,task\n" + "1," * 5_000_000 + "1\n", "epoch\n" + '"' + "x" * 200_000 + '"\n', "epoch,a\n1\n", "epoch\nx\n",
     "a\n1\n", "epoch\n\x00\n"],
    ids=["wide", "long field", "short row", "word", "no epoch", "zero byte"],
)  # fmt: skip
def test_a_table_that_is_none_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    begun = time.monotonic()
    with pytest.raises(UserError) as refused:
        read_metrics(tmp_path / "metrics.csv")
    assert "\n" not in str(refused.value)
    assert time.monotonic() - begun < 5


def test_tables_and_arrays_are_regular_files_of_their_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "outside").write_text("epoch\n1\n")
    for reader in (read_metrics, read_matrix_csv, read_histograms):
        for target in (tmp_path / "outside", Path("/dev/zero")):
            (run / "file").symlink_to(target)
            with pytest.raises(UserError, match="is a symbolic link out of"):
                reader(run / "file")
            (run / "file").unlink()


def test_compressed_arrays_are_looked_at_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "hidden_weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (1 << 29,)})
        for _ in range(1 << 9):
            member.write(bytes(1 << 20))
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"would take 536,\d+,\d+ bytes"):
        read_histograms(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with pytest.raises(UserError, match="hidden weights: "):
        read_histograms(path)
    np.savez(path, a=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="hidden weights: "):
        read_histograms(path)
    assert time.monotonic() - begun < 5


def test_a_lock_that_is_a_link_or_a_pipe_is_refused_in_a_line(tmp_path: Path) -> None:
    run, precious = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    precious.write_text("mine")
    (run / ".lock").symlink_to(precious)
    with pytest.raises(UserError, match=r"run: cannot be locked: \.lock is a symbolic link out of"), lock_run_dir(run):
        pass
    assert not is_locked(run)
    assert precious.read_text() == "mine"
    (run / ".lock").unlink()
    os.mkfifo(run / ".lock")
    with pytest.raises(UserError, match=r"run: cannot be locked: \.lock is no regular file"), lock_run_dir(run):
        pass
    assert not is_locked(run)
