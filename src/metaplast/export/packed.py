"""A folded network as a C header: a bit for a weight, two integers for a unit, and the program that runs it."""

from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from metaplast.export.folding import FoldedNetwork, IntegerLogits, ThresholdLinear

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
