"""MNIST, then USPS, which is a small file of its format here.

Data sets as tasks of their own, in the order asked for.
"""

from pathlib import Path

import pytest
import torch

from metaplast.data import load_fashion_mnist, load_mnist, load_usps
from metaplast.scenarios import Scenario, mnist_usps, task_tensors, whole_datasets


def make(data_dir: Path, binarize: bool, seed: int = 0) -> Scenario:
    return mnist_usps(order=["mnist", "usps"], n_mnist=20, n_usps=5, binarize=binarize, seed=seed, data_dir=data_dir)


def place(images: torch.Tensor, among: torch.Tensor) -> int:
    """The index in `among` from which on it holds `images`."""
    (place,) = (i for i in range(len(among) - len(images) + 1) if torch.equal(among[i : i + len(images)], images))
    return place


def test_training_has_contiguous_images_and_testing_all_of_them(mnist_and_usps: Path) -> None:
    scenario = make(mnist_and_usps, binarize=False)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (2, 10, (1, 28, 28))
    for load, task, n in ((load_mnist, 0, 20), (load_usps, 1, 5)):
        images, labels = load(mnist_and_usps, train=True)
        test_images, test_labels = load(mnist_and_usps, train=False)
        train, test = (task_tensors(stream[task]) for stream in scenario.benchmark.streams.values())
        margin = 6 * task
        inside = (slice(None), slice(None), slice(margin, 28 - margin), slice(margin, 28 - margin))
        start = place(train.images[inside], images)
        assert torch.equal(test.images[inside], test_images)
        assert len(train) == n
        assert train.images.sum() == images[start : start + n].sum()  # the margin is background
        assert torch.equal(train.labels, labels[start : start + n])
        assert torch.equal(test.labels, test_labels)


def test_where_the_images_begin_follows_from_the_seed(mnist_and_usps: Path) -> None:
    usps, _ = load_usps(mnist_and_usps, train=True)
    inside = (slice(None), slice(None), slice(6, 22), slice(6, 22))
    starts = [
        place(task_tensors(make(mnist_and_usps, False, s).benchmark.train_stream[1]).images[inside], usps)
        for s in range(5)
    ]
    again = place(task_tensors(make(mnist_and_usps, False, 3).benchmark.train_stream[1]).images[inside], usps)
    assert again == starts[3]
    assert len(set(starts)) > 2, "of 8 places"


def test_binarized_pixels_are_one_where_there_is_any_ink_and_else_zero(mnist_and_usps: Path) -> None:
    grey, binary = (make(mnist_and_usps, binarize) for binarize in (False, True))
    for ours, theirs in zip(grey.benchmark.train_stream, binary.benchmark.train_stream, strict=True):
        pixels, _ = task_tensors(ours).batch(slice(None))
        signs, _ = task_tensors(theirs).batch(slice(None))
        assert signs.dtype == torch.float32
        assert torch.equal(signs, pixels.sign())
        assert 0 < signs.mean() < 1


def test_one_data_set_alone_is_one_task(mnist_and_usps: Path) -> None:
    scenario = mnist_usps(order=["usps"], n_mnist=20, n_usps=12, binarize=True, seed=0, data_dir=mnist_and_usps)
    assert [len(task_tensors(e)) for e in scenario.benchmark.train_stream] == [12]
    assert [len(task_tensors(e)) for e in scenario.benchmark.test_stream] == [7]


DATA_DIR = Path(__file__).parents[2] / "data"
LOAD = {"mnist": load_mnist, "fashion_mnist": load_fashion_mnist}


@pytest.mark.parametrize(
    "order",
    [
        ["mnist"],
        pytest.param(["mnist", "fashion_mnist"], marks=pytest.mark.slow),
        pytest.param(["fashion_mnist", "mnist"], marks=pytest.mark.slow),
    ],
)
def test_each_task_is_one_data_set_as_it_was_published(order: list[str]) -> None:
    scenario = whole_datasets(order=order, seed=3, data_dir=DATA_DIR)
    assert (scenario.n_tasks, scenario.n_classes, scenario.input_shape) == (len(order), 10, (1, 28, 28))
    for stream in ("train", "test"):
        for experience, name in zip(scenario.benchmark.streams[stream], order, strict=True):
            images, labels = LOAD[name](DATA_DIR, train=stream == "train")
            assert torch.equal(task_tensors(experience).images, images)
            assert torch.equal(task_tensors(experience).labels, labels)
