"""The command that makes features, run in this process on a few generated images and an untrained network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

from metaplast.data import load_cifar10, read_features
from metaplast.data.features import pretrained_resnet18, resnet_features

Script = Callable[..., Any]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        record = torch.randint(0, 10, (3073,), dtype=torch.uint8, generator=generator)
        (folder / name).write_bytes(bytes(record.tolist()))
    return tmp_path / "data"


def test_it_writes_every_pass_over_the_training_images_and_one_over_the_test_images(
    script: Script, data_dir: Path
) -> None:
    weights = data_dir / "weights.pth"
    torch.save(resnet18(weights=None).state_dict(), weights)
    done = script("make_features", "cifar10", "--data-dir", data_dir, "--weights", weights, "--passes", 2, "--seed", 4)
    assert done.status == 0, done.err
    file = data_dir / "cifar10_features.npz"
    assert done.out.endswith(f"Written: {file}\n")
    features, labels = read_features(file, train=True, n_classes=10)
    assert features.shape == (10, 512)
    assert torch.equal(labels, load_cifar10(data_dir, train=True)[1].repeat(2))
    assert not torch.equal(features[:5], features[5:])
    images, classes = load_cifar10(data_dir, train=False)
    expected = resnet_features(pretrained_resnet18(weights), images)
    features, labels = read_features(file, train=False, n_classes=10)
    torch.testing.assert_close(features, expected, atol=1e-3, rtol=2e-3)  # threads may change the last bits
    assert torch.equal(labels, classes)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["cifar10", "--data-dir", "/nowhere"],
            "error: data_dir=/nowhere: expected the files of CIFAR-10, got none. Get its binary version",
        ),
        (
            ["cifar100", "--out", "features.pt"],
            "error: --out features.pt: expected a name ending in .npz, got features.pt",
        ),
        (["cifar10", "--passes", "0"], "error: argument --passes: expected an integer >= 1, got '0'"),
        (["mnist"], "error: argument dataset: invalid choice: 'mnist'"),
    ],
)
def test_wrong_arguments_are_rejected_in_one_line(script: Script, arguments: list[str], says: str) -> None:
    done = script("make_features", *arguments)
    assert done.status == 2
    assert done.err.startswith(says)
    assert done.err.count("\n") == 1
