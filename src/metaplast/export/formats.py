"""Files of a trained network: which form goes into them, how they are written, and what they answer when read back.

A folded network becomes a C header, a bit for a weight and two integers for a unit, and the program that runs it.
"""

import importlib.util
import io
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.export.folding import FoldedNetwork, IntegerLogits, ThresholdLinear, fold
from metaplast.io import atomic_path, write_text

WORD = 64
"""Bits of a word; each row of weights starts a new one."""


def pack(weight: Tensor) -> npt.NDArray[np.uint64]:
    """Rows of ±1, (units, inputs), as words (units, ⌈inputs / 64⌉): weight j is bit j mod 64 of word ⌊j / 64⌋, 1 if +1.

    >>> import torch
    >>> pack(torch.tensor([[1, -1, 1, 1]]))
    array([[13]], dtype=uint64)
    """
    bits = np.packbits(weight.numpy() > 0, axis=1, bitorder="little")
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % (WORD // 8))))
    return padded.view("<u8").astype(np.uint64)


def header(network: FoldedNetwork, title: str) -> str:
    """The text of network.h; `title` says what the network is."""
    hidden = network.hidden_layers()
    units = [len(layer.at_least) for layer in hidden]
    parts = [
        f"/* {title}. Read by runner.c, which says what each part means. */",
        f"#define PIXELS {hidden[0].weight.shape[1]}",
        f"#define CLASSES {len(network.last.scale)}",
        f"#define HIDDEN {len(units)}",
        f"#define WORDS {-(-max(units) // WORD)}",
        f"#define LOW {hidden[0].low}",
    ]
    for i, layer in enumerate(hidden, start=1):
        parts += [
            _array("uint64_t", f"weights{i}", [f"{word:#x}" for word in pack(layer.weight).ravel()]),
            _array("int32_t", f"at_least{i}", layer.at_least.tolist()),
            _array("int32_t", f"at_most{i}", layer.at_most.tolist()),
        ]
    rows = [
        f"{{{layer.weight.shape[1]}, {len(layer.weight)}, weights{i}, at_least{i}, at_most{i}}}"
        for i, layer in enumerate(hidden, start=1)
    ]
    parts += [
        "static const struct layer {\n    int inputs, units;\n    const uint64_t *weights;\n"
        "    const int32_t *at_least, *at_most;\n} hidden[HIDDEN] = {" + ", ".join(rows) + "};",
        _array("uint64_t", "last", [f"{word:#x}" for word in pack(network.last.weight).ravel()]),
        _array("double", "scale", [value.hex() for value in network.last.scale.tolist()]),
        _array("double", "offset", [value.hex() for value in network.last.offset.tolist()]),
    ]
    return "\n".join(parts) + "\n"


def runner() -> str:
    """The text of runner.c."""
    return (files("metaplast.export") / "runner.c").read_text(encoding="utf-8")


class LayerSize(NamedTuple):
    """What a layer of a packed network takes."""

    layer: str
    weights: int
    size: int
    """Bytes in the program: the weights, and the two thresholds or the scale and offset of each unit."""
    work: str
    """What is computed for an image."""


def sizes(network: FoldedNetwork) -> list[LayerSize]:
    """What every layer takes, from the first to the last."""
    rows = []
    layers: list[ThresholdLinear | IntegerLogits] = [*network.hidden_layers(), network.last]
    for i, layer in enumerate(layers, start=1):
        units, inputs = layer.weight.shape
        words = units * -(-inputs // WORD)
        last = layer is network.last
        work = f"{units * inputs:,} additions of pixels" if i == 1 else f"{words:,} × XOR, AND, popcount of 64 bits"
        work += f", {units} multiplications" if last else f", {2 * units:,} comparisons"
        rows.append(LayerSize(f"layer{i}", units * inputs, words * WORD // 8 + units * (16 if last else 8), work))
    return rows


def _array(kind: str, name: str, values: Sequence[object]) -> str:
    words = [str(value) for value in values]
    lines = (", ".join(words[start : start + 8]) for start in range(0, len(words), 8))
    return f"static const {kind} {name}[] = {{\n    " + ",\n    ".join(lines) + "};"


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
