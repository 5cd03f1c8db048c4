"""Files answer as the network that they were written from; a packed one in C, to the bit."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from metaplast.errors import UserError
from metaplast.export import formats
from metaplast.export.folding import FoldedNetwork, fold
from metaplast.export.formats import (
    OPSET,
    TOLERANCE,
    compare,
    exported_form,
    header,
    pack,
    reader,
    require_packages,
    runner,
    sizes,
    write,
)
from metaplast.nn import bcnn, bnn, mlp, set_population_statistics

SHAPE = (1, 8, 9)
NETWORKS: dict[str, Any] = {
    "sign": lambda: bnn(SHAPE, 4, hidden=[70, 9], gamma_init="uniform"),
    "gate": lambda: bnn(SHAPE, 4, hidden=[70, 9, 64], activation="gate", gate_threshold=0.6),
    "sums that are exactly 0": lambda: bnn(SHAPE, 4, hidden=[70, 10], norm="none"),
    "layer norm": lambda: bnn(SHAPE, 4, hidden=[70], norm="layer"),
    "kwta": lambda: bnn(SHAPE, 4, hidden=[30], activation="kwta"),
    "bcnn": lambda: bcnn(SHAPE, 4, channels=[3], kernel_size=3),
    "mlp": lambda: mlp(SHAPE, 4, hidden=[6]),
}
FOLDED = ("sign", "gate", "sums that are exactly 0")


def built(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network of that name, and uint8 images of which it has the population statistics."""
    torch.manual_seed(0)
    network, images = NETWORKS[name](), torch.randint(0, 256, (300, *SHAPE), dtype=torch.uint8)
    if name == "sums that are exactly 0":  # which float32 misses with other pixels
        images = images // 128 * 255
    set_population_statistics(network, lambda: [images / 255])
    return network.eval(), images


@pytest.mark.parametrize("name", FOLDED)
def test_the_c_program_answers_every_image_as_the_network(name: str, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    network, images = built(name)
    folded = fold(network)
    paths = write(folded, "packed", images / 255, tmp_path, "a title")
    assert [path.name for path in paths] == ["network.h", "runner.c"]
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-o", "run", "runner.c"], cwd=tmp_path, check=True
    )
    done = subprocess.run(
        [tmp_path / "run", "logits"], input=images.numpy().tobytes(), capture_output=True, check=True
    ).stdout
    answers = np.array([line.split() for line in done.decode().splitlines()], dtype=np.float32)
    with torch.no_grad():
        logits = network(images / 255)
        assert np.array_equal(answers[:, 0], logits.argmax(1).numpy())
        assert np.array_equal(answers[:, 1:], folded(images / 255).numpy())
    assert compare(folded, network, images / 255).off == 0


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *(("onnx", name) for name in ("sign", "gate", "bcnn", "kwta")),
        ("torch", "layer norm"),
        ("torch", "mlp"),
        ("torch", "sign"),
        ("torch", "bcnn"),
    ],
)
def test_a_file_read_back_answers_as_the_network_one_image_included(
    form: formats.Format, name: str, tmp_path: Path
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    network, images = built(name)
    exported = exported_form(network, form, pixels=True)
    assert isinstance(exported, FoldedNetwork) == (name in FOLDED)
    [path] = write(exported, form, images / 255, tmp_path, "a title")
    answer = reader(exported, form, [path])
    result = compare(answer, network, images / 255)
    assert (result.off, result.other_answers) == (0, 0)
    assert 0 <= result.largest <= TOLERANCE
    assert compare(answer, network, images[:1] / 255).off == 0
    if form == "onnx":
        import onnx

        model = onnx.load(path)
        assert [opset.version for opset in model.opset_import if opset.domain == ""] == [OPSET]
        onnx.checker.check_model(model)


def test_a_file_that_answers_otherwise_is_found_out() -> None:
    network, images = built("sign")
    other, _ = built("gate")
    result = compare(other, network, images / 255)
    assert result.off == result.images == len(images)
    assert result.other_answers > 0
    assert result.largest > TOLERANCE


def test_a_packed_network_of_the_papers_kind_takes_less_than_100_kb() -> None:
    rows = sizes(fold(bnn((1, 28, 28), 10, hidden=[512, 512], norm="none")))
    assert [row.weights for row in rows] == [784 * 512, 512 * 512, 512 * 10]
    assert [row.size for row in rows] == [512 * (13 * 8 + 8), 512 * (8 * 8 + 8), 10 * (8 * 8 + 16)]
    assert sum(row.size for row in rows) < 100_000
    assert rows[1].work == "4,096 × XOR, AND, popcount of 64 bits, 1,024 comparisons"


def test_bits_of_a_row_start_a_new_word() -> None:
    weight = torch.ones(2, 65)
    weight[1, :64] = -1
    assert pack(weight).tolist() == [[2**64 - 1, 1], [0, 1]]


def test_the_header_is_plain_c() -> None:
    network, _ = built("sign")
    text = header(fold(network), "title")
    assert text.isascii()
    assert runner().isascii()
    assert "#define PIXELS 72\n#define CLASSES 4\n#define HIDDEN 2\n#define WORDS 2\n#define LOW -1\n" in text


def test_real_numbers_as_pixels_have_no_integer_form() -> None:
    network, _ = built("sign")
    assert exported_form(network, "onnx", pixels=False) is network
    with pytest.raises(UserError, match="packed: expected a scenario whose images are of 8-bit pixels"):
        exported_form(network, "packed", pixels=False)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found("torch"))
    with pytest.raises(UserError, match=rf"needs {missing}, .*pip install -e '\.\[export\]'"):
        require_packages("onnx")
    require_packages("torch")
