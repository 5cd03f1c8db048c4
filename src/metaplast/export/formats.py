"""Files of a trained network: which form goes into them, how they are written, and what they answer when read back."""

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.export.folding import FoldedNetwork, fold
from metaplast.export.packed import header, runner
from metaplast.io import atomic_path, write_text

Format = Literal["onnx", "torch", "packed"]
FORMATS: tuple[Format, ...] = get_args(Format)
OPSET = 20
"""The operator set of ONNX files."""
TOLERANCE = 1e-5
"""Largest difference of a logit between the network and a file."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_packages(form: Format) -> None:
    """Raise UserError where `form` needs a package that is not installed."""
    for package in _PACKAGES if form == "onnx" else ():
        if importlib.util.find_spec(package) is None:
            raise UserError(f"--format onnx: needs {package}, which is not installed; pip install -e '.[export]'")


def exported_form(network: nn.Module, form: Format, pixels: bool) -> nn.Module:
    """What is written for `network`: its integer form where it has one, else (for ONNX and torch) the network itself.

    `pixels` says that its images are of 8-bit pixels. Raises UserError where a packed network is asked for and there is
    no integer form.
    """
    try:
        if not pixels:
            raise UserError("packed: expected a scenario whose images are of 8-bit pixels, got real numbers")
        return fold(network)
    except UserError:
        if form == "packed":
            raise
        return network


def write(network: nn.Module, form: Format, images: Tensor, folder: Path, title: str) -> list[Path]:
    """Write `network`, as :func:`exported_form` gives it, to `folder` and return the files.

    `images` (N, C, H, W), N ≥ 2, are examples; the files take any N. `title` says in a C header what the network is.
    """
    if isinstance(network, FoldedNetwork) and form == "packed":
        paths = [folder / "network.h", folder / "runner.c"]
        write_text(paths[0], header(network, title))
        write_text(paths[1], runner())
        return paths
    path = folder / ("network.onnx" if form == "onnx" else "network.pt2")
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    with warnings.catch_warnings(action="ignore"):  # of torch's exporter, about itself
        program = torch.export.export(network, (images[:2].clone(),), dynamic_shapes=sizes)  # it keeps its example
        buffer = io.BytesIO()
        if form == "torch":
            torch.export.save(program, buffer)
        else:
            converted = torch.onnx.export(
                program,
                input_names=["images"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            assert converted is not None, "it is with dynamo=True"
            buffer.write(converted.model_proto.SerializeToString())
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return [path]


def reader(network: nn.Module, form: Format, paths: list[Path]) -> Callable[[Tensor], Tensor]:
    """A function from images to the logits of the file that `write` wrote; of a packed network, in torch's integers."""
    if form == "packed":
        return network
    if form == "torch":
        module: Callable[[Tensor], Tensor] = torch.export.load(str(paths[0])).module()
        return module
    from onnxruntime import InferenceSession

    session = InferenceSession(str(paths[0]), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


class Comparison(NamedTuple):
    """How a file answers, against the network that it was written from."""

    images: int
    largest: float
    """Largest difference of a logit."""
    off: int
    """Images with a logit that differs by more than `TOLERANCE`."""
    other_answers: int
    """Images with another class."""


@torch.no_grad()
def compare(answer: Callable[[Tensor], Tensor], network: Callable[[Tensor], Tensor], images: Tensor) -> Comparison:
    """Compare the logits that `answer` and `network` give for `images`."""
    batches = torch.split(images, 1000)
    actual = torch.cat([answer(batch) for batch in batches])
    expected = torch.cat([network(batch) for batch in batches])
    difference = (actual - expected).abs().amax(dim=1)
    other = int((actual.argmax(1) != expected.argmax(1)).sum())
    return Comparison(len(images), float(difference.max()), int((difference > TOLERANCE).sum()), other)
