"""Files of features come back as they were written, pickles do not come in, and rows are normalized.

Features of a ResNet-18: what it gives in torchvision's own pipeline, and augmentation that is reproducible.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import v2

from metaplast.data import normalize_rows, read_features, write_features
from metaplast.data.features import pretrained_resnet18, resnet_features
from metaplast.errors import UserError

TRAIN = (torch.tensor([[0.5, 1.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float16), torch.tensor([2, 0, 1]))
TEST = (torch.tensor([[9.0, 8.0]]), torch.tensor([1]))


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    write_features(tmp_path / "f.npz", TRAIN, TEST)
    for train, written in ((True, TRAIN), (False, TEST)):
        for came, went in zip(read_features(tmp_path / "f.npz", train, n_classes=3), written, strict=True):
            assert torch.equal(came, went)
            assert came.dtype == went.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"f.npz: expected features, .*scripts/make_features.py"):
        read_features(tmp_path / "f.npz", True, 10)


class _Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"train_features": np.array([_Trap()]), "train_labels": np.zeros(1, int)}, "cannot be read"),
        ({"train_features": np.zeros((2, 3))}, "train_labels"),
        ({"train_features": np.zeros((2, 3), int), "train_labels": np.zeros(2, int)}, "of floats"),
        ({"train_features": np.zeros((2, 3, 1)), "train_labels": np.zeros(2, int)}, "of floats"),
        ({"train_features": np.zeros((2, 3)), "train_labels": np.zeros(3, int)}, "of floats"),
        ({"train_features": np.zeros((2, 3)), "train_labels": np.array([0, 10])}, "integers from 0 to 9"),
        ({"train_features": np.zeros((2, 3)), "train_labels": np.array([-1, 0])}, "integers from 0 to 9"),
        ({"train_features": np.zeros((2, 3)), "train_labels": np.zeros(2)}, "integers from 0 to 9"),
        ({"train_features": np.zeros((0, 3)), "train_labels": np.zeros(0, int)}, "at least one"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, Any], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(UserError, match=text):
        read_features(tmp_path / "f.npz", True, n_classes=10)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_files_that_are_no_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a file of features"):
        read_features(tmp_path / "f.npz", True, n_classes=10)


@given(seed=st.integers(0, 100), exponent=st.integers(-3, 3))
def test_normalized_rows_do_not_depend_on_offset_and_unit(seed: int, exponent: int) -> None:
    rows = torch.randn(4, 16, generator=torch.Generator().manual_seed(seed))
    moved = normalize_rows(rows * 2.0**exponent + 3)
    torch.testing.assert_close(moved, normalize_rows(rows), atol=1e-4, rtol=1e-4)  # 3 + 2⁻³x keeps 20 bits of x
    torch.testing.assert_close(moved.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.var(1, correction=0), torch.ones(4), atol=1e-5, rtol=0)


def test_the_variance_is_the_square_of_the_divisor_and_none_divides_by_nothing() -> None:
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float() * 5
    deviation = rows.std(1, correction=0, keepdim=True)
    torch.testing.assert_close(normalize_rows(rows, "none"), rows - rows.mean(1, keepdim=True))
    torch.testing.assert_close(normalize_rows(rows, "variance") * deviation, normalize_rows(rows, "std"))
    torch.testing.assert_close(normalize_rows(rows, "std") * deviation, normalize_rows(rows, "none"))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    untrained: nn.Module = resnet18(weights=None)
    return untrained


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_torchvisions_transforms_without_the_last_layer(
    network: nn.Module, images: Tensor
) -> None:
    pipeline = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize((220, 220)),
            v2.CenterCrop(200),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    headless = resnet18(weights=None).eval()
    headless.load_state_dict(network.state_dict())
    headless.fc = nn.Identity()
    with torch.inference_mode():
        expected = headless(pipeline(images))
    features = resnet_features(network, images, batch_size=2)
    assert (features.shape, features.dtype) == ((3, 512), torch.float16)
    torch.testing.assert_close(features.float(), expected, atol=1e-3, rtol=2e-3)  # 11 bits are kept


def test_augmented_passes_differ_from_each_other_and_follow_from_the_seed(network: nn.Module, images: Tensor) -> None:
    first, again = (torch.Generator().manual_seed(3) for _ in range(2))
    passes = [resnet_features(network, images[:2], generator) for generator in (first, first, again)]
    assert not torch.equal(passes[0], passes[1])
    assert torch.equal(passes[0], passes[2])


def test_weights_are_read_from_a_file(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    read = pretrained_resnet18(tmp_path / "weights.pth").state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", b"no weights", {"fc.weight": torch.zeros(2)}, torch.zeros(3), 5])
def test_files_without_weights_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"weights.pth: expected weights of ResNet-18, got \S"):
        pretrained_resnet18(path)


def test_weights_that_cannot_be_fetched_say_what_to_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(UserError, match=r"could not be downloaded .*resnet18-f37072fd.pth.*--weights"):
        pretrained_resnet18()
