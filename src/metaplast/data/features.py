"""Features of images: the 512 inputs of the last layer of torchvision's ResNet-18, and the files that hold them.

They are made as in Laborieux et al. 2021 (arXiv 2101.07592): images are enlarged to 220 x 220, cropped to 200 x 200 at
a random position and flipped with probability 1/2, training images in ten such passes. Two things differ: colors are
normalized by ImageNet's mean and standard deviation, and the network is in evaluation mode. The published notebook does
neither, so its features depend on the statistics of each batch.

A file is an `.npz` of NumPy with four arrays: `train_features` and `test_features`, floats (N, F), and `train_labels`
and `test_labels`, integers (N,). It is read without unpickling. `scripts/make_features.py` makes such files.
"""

import pickle
import zipfile
import zlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.errors import UserError
from metaplast.io import atomic_path

Features = tuple[Tensor, Tensor]
"""Floats (N, F) and int64 labels (N,)."""


def write_features(path: Path, train: Features, test: Features) -> None:
    """Write a file of features, atomically; `path` has to end in `.npz`."""
    arrays = {
        f"{part}_{kind}": tensor.numpy()
        for part, pair in (("train", train), ("test", test))
        for kind, tensor in zip(("features", "labels"), pair, strict=True)
    }
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # the stub mistakes the names for options


def read_features(path: Path, train: bool, n_classes: int) -> Features:
    """Read features, in the precision of the file, and labels from 0 to `n_classes` - 1.

    Raises UserError if the file is missing (the message says how to make it) or has another format.
    """
    if not path.is_file():
        raise UserError(f"{path}: expected features, made by `python scripts/make_features.py`, got no file")
    part = "train" if train else "test"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            features, labels = file[f"{part}_features"], file[f"{part}_labels"]
    except (OSError, EOFError, KeyError, ValueError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as a file of features: {error}.") from error
    _check(path, part, features, labels, n_classes)
    return torch.from_numpy(features), torch.from_numpy(labels).long()


def normalize_rows(features: Tensor, scale: str = "std") -> Tensor:
    """Subtract from each row of floats (N, F) its mean, and divide it by its `scale`; float32.

    `scale`, one of :data:`SCALES`, is the standard deviation, the variance (as in the code of Laborieux et al.) or 1.
    Constant rows become 0.

    >>> normalize_rows(torch.tensor([[1.0, 5.0], [3.0, 3.0]]), "variance")
    tensor([[-0.5000,  0.5000],
            [ 0.0000,  0.0000]])
    """
    centered = features.float() - features.float().mean(1, keepdim=True)
    if scale == "none":
        return centered
    variance = centered.square().mean(1, keepdim=True)
    divisor = variance.sqrt() if scale == "std" else variance
    return centered / divisor.masked_fill(divisor == 0, 1)


SCALES = ("std", "variance", "none")
"""Divisors of a row of features: standard deviation, variance, or 1."""


def _check(path: Path, part: str, features: "np.ndarray", labels: "np.ndarray", n_classes: int) -> None:
    if features.ndim != 2 or features.dtype.kind != "f" or labels.shape != features.shape[:1]:
        raise UserError(
            f"{path}: expected {part}_features of floats (N, F) and {part}_labels (N,), got {features.dtype} "
            f"{features.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or not labels.size or labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(
            f"{path}: expected {part}_labels of integers from 0 to {n_classes - 1}, at least one, got others"
        )


RESIZE, CROP = 220, 200
"""Sides in pixels of the enlarged image and of the crop."""

# mean and standard deviation of ImageNet's colors, with which the network was trained (torchvision's documentation)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pretrained_resnet18(weights: Path | None = None) -> nn.Module:
    """ResNet-18 trained on ImageNet, ready for :func:`resnet_features`.

    `weights` is a file with its state dict; None takes torchvision's (IMAGENET1K_V1, 45 MB) from torch's cache, or
    downloads it. Raises UserError if the download fails or the file does not fit.
    """
    from torchvision.models import ResNet18_Weights, resnet18

    network: nn.Module = resnet18(weights=None)
    published = ResNet18_Weights.IMAGENET1K_V1
    try:
        state = (
            published.get_state_dict(progress=True, check_hash=True, weights_only=True)
            if weights is None
            else torch.load(weights, weights_only=True, map_location="cpu")
        )
        network.load_state_dict(state)
    except (URLError, TimeoutError) as error:
        raise UserError(
            f"ResNet-18's weights could not be downloaded ({error}). Get {published.url} on another machine "
            "and pass the file by --weights."
        ) from error
    except (OSError, EOFError, RuntimeError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{weights or published.url}: expected weights of ResNet-18, got {reason}") from error
    return network


def resnet_features(
    network: nn.Module, images: Tensor, generator: torch.Generator | None = None, batch_size: int = 250
) -> Tensor:
    """Features (N, 512), float16, of uint8 images (N, 3, H, W), by a ResNet-18 on the device that it is on.

    With a `generator` (of the CPU), each image is cropped at a random position and flipped with probability ½; without,
    the crop is the center. The network's last layer is not used, and its normalization is in evaluation mode.
    """
    body = nn.Sequential(*[*network.children()][:-1], nn.Flatten()).eval()
    device = next(network.parameters()).device
    features = torch.empty(len(images), 512, dtype=torch.float16)
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = _preprocess(images[start : start + batch_size].to(device), generator)
            features[start : start + batch_size] = body(batch)
    return features


def _preprocess(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Enlarge, crop and standardize images: float32 (N, 3, CROP, CROP)."""
    n, device = len(images), images.device
    enlarged = F.interpolate(images.float().div_(255), (RESIZE, RESIZE), mode="bilinear")
    margin = RESIZE - CROP
    if generator is None:
        cropped = enlarged[:, :, margin // 2 : margin // 2 + CROP, margin // 2 : margin // 2 + CROP]
    else:
        corners = torch.randint(margin + 1, (n, 2), generator=generator).tolist()
        cropped = torch.stack(
            [image[:, y : y + CROP, x : x + CROP] for image, (y, x) in zip(enlarged, corners, strict=True)]
        )
        flipped = torch.rand(n, generator=generator) < 0.5
        cropped = torch.where(flipped.to(device)[:, None, None, None], cropped.flip(3), cropped)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (_MEAN, _STD))
    return (cropped - mean) / std
