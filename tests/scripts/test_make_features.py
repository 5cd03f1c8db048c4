"""The command that makes features, run as a user runs it, on a few generated images and an untrained network."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from metaplast.data import load_cifar10, read_features
from metaplast.data.features import pretrained_resnet18, resnet_features

ROOT = Path(__file__).parents[2]


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    script = str(ROOT / "scripts" / "make_features.py")
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        record = torch.randint(0, 10, (3073,), dtype=torch.uint8, generator=generator)
        (folder / name).write_bytes(bytes(record.tolist()))
    return tmp_path / "data"


def test_it_writes_every_pass_over_the_training_images_and_one_over_the_test_images(data_dir: Path) -> None:
    weights = data_dir / "weights.pth"
    torch.save(resnet18(weights=None).state_dict(), weights)
    done = command("cifar10", "--data-dir", data_dir, "--weights", weights, "--passes", 2, "--seed", 4)
    assert done.returncode == 0, done.stderr
    file = data_dir / "cifar10_features.npz"
    assert done.stdout.endswith(f"Written: {file}\n")
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
def test_wrong_arguments_are_rejected_in_one_line(arguments: list[str], says: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1
