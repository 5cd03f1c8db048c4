"""The experiments of the paper: at both sizes every arm can be run; at the paper's own they are its settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from metaplast.cli.run import run
from metaplast.config.validate import check, warnings
from metaplast.report.report import report_sweep

Compose = Callable[..., DictConfig]
SMALL = [
    "epochs_per_task=2",
    "eval_every_n_epochs=2",
    "logger=none",
    "trainer.progress=none",
    "trainer.threads=1",
    "seed=0",
]
DIGITS = ["scenario=pdigits", "scenario.n_tasks=2"]
TINY = {
    "beyond_consolidation": DIGITS,
    "beyond_sgd": DIGITS,
    "bcnn_fashion": [*DIGITS, "model.channels=[4]"],
    "ewc_pmnist": [*DIGITS, "strategy.n_samples=50"],
    "fig2": DIGITS,
    "fig2_mlp": DIGITS,
    "fig3": [*DIGITS, "model.hidden=[16],[32]", "++strategy.n_samples=50"],
    "fig4_cifar10": DIGITS,
    "fig4_cifar100": [*DIGITS, "batch_size=100"],
    "fig4_fmnist_mnist": DIGITS,
    "fig4_mnist_fmnist": DIGITS,
    "fig4_mnist_usps": [*DIGITS, "model.channels=[4]"],
    "look": DIGITS,
    "normalization": [*DIGITS, "model.hidden=[16]", "m=2", "ablation=reference,running"],
    "paper": DIGITS,
    "parity": DIGITS,
    "rotated": DIGITS,
    "si_pmnist": [*DIGITS, "~scenario.padding"],
    "split_fmnist": ["scenario=split_digits"],
    "split_mnist": ["scenario=split_digits"],
    "stream_cifar10": ["scenario=stream_digits", "model.channels=[4,4]", "model.hidden=[16]", "scenario.n_parts=1,3"],
    "stream_fmnist": ["scenario=stream_digits", "scenario.n_parts=1,3"],
    "table1": [*DIGITS, "++strategy.n_samples=50"],
    "unassisted": DIGITS,
    "width": [*DIGITS, "model.hidden=[16],[32]"],
}
"""What makes each a matter of seconds, on data that need no files; hidden layers are of 16 units besides."""


def arms(composed: Compose, *base: str, most: int = 99) -> list[DictConfig]:
    """Every configuration that an experiment runs, but for the seeds, or the last `most` of them."""
    params = composed(*base).hydra.sweeper.params or {}
    swept = [f"{key}={value}" for key, value in params.items() if key != "seed"]
    [jobs] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(swept), max_batch_size=None)
    return [composed(*base, *job) for job in jobs[-most:]]


def values(config: DictConfig, *keys: str) -> list[Any]:
    found = (OmegaConf.select(config, key) for key in keys)
    return [OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for value in found]


def test_every_experiment_is_tried(conf: Path) -> None:
    own_test = {"sign_switch"}  # tests/scripts/test_sign_switch.py
    assert {path.stem for path in (conf / "experiment").glob("*.yaml")} == TINY.keys() | own_test


@pytest.mark.parametrize("experiment", TINY)
def test_the_arms_can_be_run_at_cpu_size(experiment: str, composed: Compose) -> None:
    for arm in arms(composed, f"experiment={experiment}", most=1):
        check(arm)
        assert warnings(arm) == []
        assert arm.plots or arm.hydra.mode is None, "the grid of an experiment is drawn"


DESIGN: dict[str, tuple[int, list[Any], set[Any], list[Any]]] = {
    # n arms, [hidden or channels], {m}, [epochs, batch, decay, reset, gamma, per task]
    "fig2": (4, [[4096, 4096]], {0, 0.5, 1.0, 1.35}, [40, 100, 1e-7, True, "uniform", True]),
    "fig2_mlp": (4, [[4096, 4096]], {0, 0.5, 1.0, 1.35}, [40, 100, 1e-7, True, "uniform", True]),
    "table1": (5, [[4096, 4096]], {None, 1.35}, [40, 100, 1e-7, True, "uniform", True]),
    "fig3": (16, [[w, w] for w in (512, 1024, 2048, 4096)], {None, 1.35}, [40, 100, 1e-8, True, "uniform", True]),
    "fig4_mnist_fmnist": (2, [[4096, 4096]], {0, 1.5}, [50, 100, 1e-7, True, "uniform", True]),
    "fig4_fmnist_mnist": (2, [[4096, 4096]], {0, 1.5}, [50, 100, 1e-7, True, "uniform", True]),
    "fig4_mnist_usps": (3, [[12, 20, 30], [6, 10, 15]], {1.2, 0}, [240, 20, ..., False, "uniform", False]),
    "fig4_cifar10": (2, [[2048]], {0, 1.8}, [10, 100, 1e-8, True, "uniform", True]),
    "fig4_cifar100": (2, [[2048, 2048]], {0, 1.3}, [20, 20, 0, True, "uniform", False]),
    "stream_fmnist": (4, [[1024, 1024]], {0, 2.5}, [20, 100, 1e-7, False, "uniform", False]),
    "stream_cifar10": (4, [[128, 128, 256, 256, 512, 512]], {0, 13}, [200, 64, 0, False, "uniform", False]),
}


@pytest.mark.parametrize("experiment", DESIGN)
def test_the_papers_size_is_the_papers_settings(experiment: str, composed: Compose) -> None:
    n_arms, widths, ms, rest = DESIGN[experiment]
    found = arms(composed, f"experiment={experiment}", "budget=paper")
    assert len(found) == n_arms
    for arm in found:
        check(arm)
        keys = ("epochs_per_task", "batch_size", "strategy.optimizer.weight_decay", "strategy.reset_optimizer")
        said = values(arm, *keys, "model.gamma_init", "model.norm_per_task")
        assert [value for value, wanted in zip(said, rest, strict=True) if wanted not in (value, ...)] == []
        assert arm.strategy.optimizer.lr == (1e-4 if experiment == "stream_cifar10" else 0.005)
    assert {values(arm, "m")[0] for arm in found} == ms
    assert all((arm.m is None) == (arm.strategy.name not in ("meta", "joint_meta")) for arm in found)
    for arm in found if "usps" in experiment else ():
        both = arm.scenario.name == "mnist_usps"
        assert values(arm, "m", "strategy.optimizer.weight_decay") == ([1.2, 1e-8] if both else [0, 0])
        assert values(arm, "model.test_statistics", "model.norm_affine", "eval_batch_size") == ["batch", False, 100]
    layers = [values(arm, "model.channels" if "channels" in arm.model else "model.hidden")[0] for arm in found]
    assert [width for i, width in enumerate(layers) if width not in layers[:i]] == widths


def test_unassisted_composes_to_ten_tasks_of_which_nothing_is_told(composed: Compose) -> None:
    config = composed("experiment=unassisted")
    check(config)
    told = values(config, "model.norm", "model.norm_affine", "model.norm_per_task", "strategy.reset_optimizer")
    assert told == ["layer", False, False, False]
    assert values(config, "model.activation", "model.hidden", "strategy.name", "m") == ["gate", [512, 512], "meta", 2.0]
    assert values(config, "scenario.name", "scenario.n_tasks", "epochs_per_task") == ["pmnist", 10, 2]
    assert values(composed("experiment=unassisted", "strategy=finetune"), "m") == [None]


def test_a_run_of_unassisted_says_that_neither_label_nor_boundary_was_used(composed: Compose, workplace: Path) -> None:
    config = composed("experiment=unassisted", *SMALL, *TINY["unassisted"], "model.hidden=[16]")
    summary = run(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), workplace / "run")
    assert (summary["task_boundary_used"], summary["task_label_used"]) == (False, False)


def sweep(experiment: str, start: Callable[..., Any], workplace: Path, *overrides: str) -> Path:
    """Run an experiment at a tiny size as a user would, and return its folder."""
    folder = workplace / "sweep"
    process = start("-m", f"experiment={experiment}", *SMALL, *overrides, f"hydra.sweep.dir={folder}")
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err[-2000:] + out[-2000:]
    return folder


def assert_drawn(folder: Path) -> None:
    """The runs are complete, and every figure that they name is there."""
    summaries = [json.loads(path.read_text("utf-8")) for path in folder.glob("*/summary.json")]
    assert summaries
    assert {summary["status"] for summary in summaries} == {"completed"}
    config = OmegaConf.load(next(folder.glob("*/config.yaml")))
    files = [path.name for path in folder.iterdir()]
    for figure in config.plots:
        assert any(file.startswith(figure) for file in files), figure


def test_an_experiment_draws_its_figures(composed: Compose, workplace: Path) -> None:
    config = composed("experiment=fig2", *SMALL, *TINY["fig2"], "model.hidden=[16]")
    run(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), workplace / "0")
    report_sweep([workplace])
    assert_drawn(workplace)
    assert (workplace / "0" / "hidden_weights.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("experiment", TINY)
def test_every_experiment_runs_to_its_figures(experiment: str, start: Callable[..., Any], workplace: Path) -> None:
    hidden = [] if any("model." in word for word in TINY[experiment]) else ["model.hidden=[16]"]
    assert_drawn(sweep(experiment, start, workplace, *hidden, *TINY[experiment]))


@pytest.mark.slow
def test_two_data_sets_are_drawn_beside_networks_of_half_the_channels_that_learn_one_each(
    start: Callable[..., Any], workplace: Path, mnist_and_usps: Path
) -> None:
    sizes = ["++scenario.n_mnist=20", "++scenario.n_usps=12", f"data_dir={mnist_and_usps}"]
    folder = sweep("fig4_mnist_usps", start, workplace, *sizes)
    assert_drawn(folder)
    runs = [OmegaConf.load(folder / str(job) / "config.yaml") for job in range(3)]
    assert [values(run, "scenario.name", "m", "model.channels") for run in runs] == [  # type: ignore[arg-type]
        ["mnist_usps", 1.2, [12, 20, 30]],
        ["mnist_part", 0, [6, 10, 15]],
        ["usps_part", 0, [6, 10, 15]],
    ]
