"""`fit` is a Trainer with the settings that a stream needs."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from metaplast.data import TaskTensors
from metaplast.nn import mlp
from metaplast.scenarios import Scenario
from metaplast.training import Learner, Schedule, StreamDataModule, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*"),
]


def stream() -> tuple[Learner, StreamDataModule]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    tasks = [TaskTensors(torch.rand(20, 1, 4, 4, generator=generator), torch.arange(20) % 3) for _ in range(3)]
    schedule = Schedule(3, 1)
    learner = Learner(
        mlp((1, 4, 4), 3, n_tasks=3, hidden=[6]), lambda groups: torch.optim.SGD(groups, lr=0.1), schedule
    )
    return learner, StreamDataModule(Scenario.from_tensors(tasks, tasks, 3), schedule, 10, 20, seed=0)


def test_it_measures_every_task_after_every_task_and_before_the_first() -> None:
    learner, data = stream()
    R = fit(learner, data)
    assert (R.shape, R.dtype, bool(R.isnan().any())) == ((3, 3), torch.float64, False)
    assert not learner.matrix.baseline().isnan().any()


def test_settings_are_those_of_the_trainer() -> None:
    R = fit(*stream(), max_epochs=1, num_sanity_val_steps=0)
    assert [bool(row.isnan().all()) for row in R] == [False, True, True]


def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1)
    whole, data = stream()
    R = fit(whole, data, enable_checkpointing=True, callbacks=[saver])
    resumed, data = stream()
    torch.manual_seed(99)
    assert torch.equal(fit(resumed, data, ckpt_path=tmp_path / "epoch=1.ckpt"), R)
    for name, value in resumed.network.state_dict().items():
        assert torch.equal(value, whole.network.state_dict()[name]), name
