"""The command that switches signs, run as a user runs it but in this process."""

import csv
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaplast.nn import bnn
from metaplast.training.checkpoint import write_checkpoint

ROOT = Path(__file__).parents[2]
Script = Callable[..., Any]
SCRIPT = ROOT / "scripts" / "sign_switch.py"


def lay_run(run_dir: Path) -> Path:
    """Write what the command needs of a finished run, with a network as it starts."""
    settings = {"input_shape": (1, 8, 8), "n_classes": 10, "hidden": [32], "gamma_init": "uniform"}
    tensors = bnn(**settings).state_dict()  # type: ignore[arg-type]
    optimizer: dict[str, object] = {"state": {}, "param_groups": []}
    checkpoint = {
        "epoch": 0,
        "global_step": 0,
        "state_dict": {f"network.{name}": tensor for name, tensor in tensors.items()},
        "optimizer_states": [optimizer],
        "loops": {"fit_loop": {}},
        "callbacks": {},
        "random_state": {},
        "losses": [],
    }
    write_checkpoint(checkpoint, run_dir / "checkpoints" / "last.ckpt")
    (run_dir / "config.yaml").write_text(
        "scenario: {_target_: metaplast.scenarios.permuted_digits, name: pdigits, n_tasks: 1}\n"
        "model: {_target_: metaplast.nn.models.bnn, name: bnn, hidden: [32], gamma_init: uniform}\n"
        "strategy: {task_order: sequence}\nepochs_per_task: 1\nseed: 0\ndata_dir: data\n"
    )
    return run_dir


def test_it_reads_a_run_and_leaves_figure_table_and_numbers_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")  # which the command would set
    main = runpy.run_path(str(SCRIPT))["main"]
    run_dir = lay_run(tmp_path / "run")
    assert main([str(run_dir), "--switched", "50", "20", "--draws", "3", "--images", "200"]) == 0
    said = capsys.readouterr()
    assert said.err == "layer1: 15 bins done\nlayer2: 15 bins done\n"
    assert said.out.splitlines()[1].startswith("layer1")
    numbers = json.loads((run_dir / "sign_switch.json").read_text())
    assert numbers["settings"]["switched"] == [50, 20]
    assert [layer["layer"] for layer in numbers["layers"]] == ["layer1", "layer2"]
    assert numbers["passed"] == all(layer["passed"] for layer in numbers["layers"])
    rows = list(csv.DictReader((run_dir / "sign_switch.csv").read_text().splitlines()))
    assert len(rows) == 30
    assert sum(int(row["count"]) for row in rows) == 64 * 32 + 32 * 10
    assert (run_dir / "sign_switch.png").read_bytes().startswith(b"\x89PNG")

    assert main([str(run_dir), "--switched", "50"]) == 2
    wanted = "error: --switched: expected one number for each of 2 binary layers, got 1\n"
    assert capsys.readouterr().err == wanted


@pytest.mark.slow
def test_the_experiment_is_a_run_that_it_reads(script: Script, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    settings = ["experiment=sign_switch", "scenario=pdigits", "epochs_per_task=2", "model.hidden=[32]", "logger=none"]
    train = [sys.executable, "src/train.py", *settings, "trainer.threads=1", f"hydra.run.dir={run_dir}"]
    subprocess.run(train, cwd=ROOT, check=True, capture_output=True, timeout=300)
    done = script("sign_switch", str(run_dir), "--switched", "50", "20", "--draws", "3", "--images", "200")
    assert done.status == 0, done.err
    assert (run_dir / "sign_switch.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: RUN_DIR"),
        (["no/such"], "RUN_DIR=no/such: expected the directory of a run, got one without config.yaml"),
        (["x", "--draws", "1"], "argument --draws: expected a whole number from 2 to 100000, got '1'"),
        (
            ["x", "--statistics", "mean"],
            "argument --statistics: invalid choice: 'mean' (choose from 'batch', 'fixed')",
        ),
    ],
)
def test_a_bad_argument_is_answered_in_one_line(script: Script, arguments: list[str], message: str) -> None:
    done = script("sign_switch", *arguments)
    assert (done.status, done.err) == (2, f"error: {message}\n")


def test_help_names_every_option_and_comes_without_the_heavy_imports(script: Script) -> None:
    code = "import sys, runpy; runpy.run_path('scripts/sign_switch.py'); print({'torch', 'hydra'} & {*sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert loaded.stdout == "set()\n"
    options = ["bins", "draws", "switched", "images", "statistics", "seed", "threads", "data-dir", "out"]
    assert all(f"--{option} " in script("sign_switch", "--help").out for option in options)


def test_a_run_directory_brings_no_code_but_what_is_trusted_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    (tmp_path / "mine.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'acted')!r}).touch()\nfrom metaplast.nn import bnn\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    main, run_dir = runpy.run_path(str(SCRIPT))["main"], lay_run(tmp_path / "run")
    config = run_dir / "config.yaml"
    config.write_text(config.read_text().replace("metaplast.nn.models.bnn", "mine.bnn"))
    few = ("--switched", "50", "20", "--draws", "2", "--images", "50", "--bins", "3")
    assert main([str(run_dir), *few]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {run_dir}: its config.yaml: model._target_=mine.bnn: expected a model of metaplast")
    assert not (tmp_path / "acted").exists()
    assert main([str(run_dir), *few, "--trust", "mine.bnn"]) == 0
    assert (tmp_path / "acted").exists()
