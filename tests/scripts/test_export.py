"""scripts/export.py, from the directory of a run to files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.commands.export import main
from metaplast.cli.run import run

ROOT = Path(__file__).parents[2]
Compose = Callable[..., DictConfig]


def trained(composed: Compose, folder: Path, *overrides: str) -> Path:
    config = composed(
        *("scenario=pdigits", "scenario.n_tasks=2", "epochs_per_task=1", "model.hidden=[16]"),
        *("logger=none", "trainer.threads=1", "trainer.progress=none", *overrides),
    )
    run(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), folder)
    return folder


def test_the_command_writes_files_and_says_how_they_answer(
    composed: Compose, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = trained(composed, workplace / "run")
    capsys.readouterr()
    assert main([str(run_dir), "--format", "packed"]) == 0
    said = capsys.readouterr().out
    assert "355 test images of task 1: 0 other answers, 0 with a logit more than 1e-05 off" in said
    assert said.splitlines()[1].split()[:4] == ["layer1", "1,024", "256", "2.00"]
    assert {path.name for path in (run_dir / "export").iterdir()} == {"network.h", "runner.c"}
    first = (run_dir / "export" / "network.h").read_text()
    assert main([str(run_dir), "--format", "packed", "--task", "0", "--out", "packed"]) == 0
    assert "task 0" in capsys.readouterr().out
    assert (workplace / "packed" / "network.h").read_text() != first
    for arguments, message in {
        ("--format", "packed", "--task", "2"): "error: task=2: expected a task of the run, an integer from 0 to 1\n",
        ("--format", "packed", "--out", "run/config.yaml"): "error: --out run/config.yaml: expected a folder",
    }.items():
        assert main([str(run_dir), *arguments]) == 2
        assert message in capsys.readouterr().err
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text("utf-8"), flags=re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(example.replace("outputs/train/DATE/TIME", str(run_dir)).replace("28, 28", "8, 8"), names)
    assert names["logits"].shape == (1, 10)
    assert main(["nowhere", "--format", "packed"]) == 2
    assert "nowhere: is not the directory of a run" in capsys.readouterr().err


@pytest.mark.slow
def test_files_agree_with_the_network_on_all_of_mnist(
    composed: Compose, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = trained(
        composed,
        workplace / "run",
        "scenario=pmnist",
        "model.hidden=[512,512]",
        f"data_dir={ROOT / 'data'}",
        "eval_tasks=seen",
    )
    capsys.readouterr()
    for form in ("onnx", "torch", "packed"):
        assert main([str(run_dir), "--format", form]) == 0
        said = capsys.readouterr().out
        assert "10,000 test images of task 1: 0 other answers, 0 with a logit more than 1e-05 off" in said
    assert int(said.splitlines()[4].split()[2].replace(",", "")) < 100_000
