"""MNIST, then USPS, which is a small file of its format here."""

import bz2
from pathlib import Path

import pytest
import torch

from metaplast.data import load_mnist, load_usps
from metaplast.scenarios import Scenario, mnist_usps, task_tensors

DATA_DIR = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real MNIST, and 12 training and 7 test images of USPS whose pixels are drawn."""
    load_mnist(DATA_DIR, train=True)  # sees to it that the files are there
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").symlink_to(DATA_DIR / "mnist")
    generator = torch.Generator().manual_seed(0)
    for name, n in (("usps.bz2", 12), ("usps.t.bz2", 7)):
        values = torch.rand(n, 256, generator=generator) * 2 - 1
        values[torch.rand(n, 256, generator=generator) < 0.5] = -1  # background
        lines = (
            f"{1 + i % 10} " + " ".join(f"{k}:{value:.4f}" for k, value in enumerate(row, 1))
            for i, row in enumerate(values.tolist())
        )
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    return folder


def make(data_dir: Path, binarize: bool, seed: int = 0) -> Scenario:
    return mnist_usps(order=["mnist", "usps"], n_mnist=20, n_usps=5, binarize=binarize, seed=seed, data_dir=data_dir)


def place(images: torch.Tensor, among: torch.Tensor) -> int:
    """The index in `among` from which on it holds `images`."""
    (place,) = (i for i in range(len(among) - len(images) + 1) if torch.equal(among[i : i + len(images)], images))
    return place


def test_training_has_contiguous_images_and_testing_all_of_them(data_dir: Path) -> None:
    scenario = make(data_dir, binarize=False)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (2, 10, (1, 28, 28))
    for load, task, n in ((load_mnist, 0, 20), (load_usps, 1, 5)):
        images, labels = load(data_dir, train=True)
        test_images, test_labels = load(data_dir, train=False)
        train, test = (task_tensors(stream[task]) for stream in scenario.benchmark.streams.values())
        margin = 6 * task
        inside = (slice(None), slice(None), slice(margin, 28 - margin), slice(margin, 28 - margin))
        start = place(train.images[inside], images)
        assert torch.equal(test.images[inside], test_images)
        assert len(train) == n
        assert train.images.sum() == images[start : start + n].sum()  # the margin is background
        assert torch.equal(train.labels, labels[start : start + n])
        assert torch.equal(test.labels, test_labels)


def test_where_the_images_begin_follows_from_the_seed(data_dir: Path) -> None:
    usps, _ = load_usps(data_dir, train=True)
    inside = (slice(None), slice(None), slice(6, 22), slice(6, 22))
    starts = [
        place(task_tensors(make(data_dir, False, s).benchmark.train_stream[1]).images[inside], usps) for s in range(5)
    ]
    again = place(task_tensors(make(data_dir, False, 3).benchmark.train_stream[1]).images[inside], usps)
    assert again == starts[3]
    assert len(set(starts)) > 2, "of 8 places"


def test_binarized_pixels_are_one_where_there_is_any_ink_and_else_zero(data_dir: Path) -> None:
    grey, binary = (make(data_dir, binarize) for binarize in (False, True))
    for ours, theirs in zip(grey.benchmark.train_stream, binary.benchmark.train_stream, strict=True):
        pixels, _ = task_tensors(ours).batch(slice(None))
        signs, _ = task_tensors(theirs).batch(slice(None))
        assert signs.dtype == torch.float32
        assert torch.equal(signs, pixels.sign())
        assert 0 < signs.mean() < 1


def test_one_data_set_alone_is_one_task(data_dir: Path) -> None:
    scenario = mnist_usps(order=["usps"], n_mnist=20, n_usps=12, binarize=True, seed=0, data_dir=data_dir)
    assert [len(task_tensors(e)) for e in scenario.benchmark.train_stream] == [12]
    assert [len(task_tensors(e)) for e in scenario.benchmark.test_stream] == [7]
