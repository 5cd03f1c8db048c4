"""Features of a ResNet-18: what it gives in torchvision's own pipeline, and augmentation that is reproducible."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import v2

from metaplast.data.resnet_features import pretrained_resnet18, resnet_features
from metaplast.errors import UserError


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
    with pytest.raises(UserError, match=r"weights.pth holds no weights of ResNet-18: \S"):
        pretrained_resnet18(path)


def test_weights_that_cannot_be_fetched_say_what_to_get(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(UserError, match=r"could not be fetched .*resnet18-f37072fd.pth.*--weights"):
        pretrained_resnet18()
