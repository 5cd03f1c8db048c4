"""Handwritten digits: scikit-learn's have a fixed split; USPS is read as torchvision reads it."""

import bz2
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import datasets
from torchvision.datasets import USPS

from metaplast.data import load_digits, load_usps
from metaplast.errors import UserError


def test_both_parts_together_are_the_whole_file() -> None:
    pixels, classes = datasets.load_digits(return_X_y=True)
    parts = [load_digits(train) for train in (True, False)]
    rows = np.concatenate([np.c_[labels, images.flatten(1)] for images, labels in parts])
    # 255/16 = 15.94: a grey level is recovered by rounding
    recovered = np.c_[rows[:, 0], np.round(rows[:, 1:] * 16 / 255)]
    assert sorted(map(tuple, recovered)) == sorted(map(tuple, np.c_[classes, pixels]))


def test_every_fifth_digit_of_each_class_is_for_testing() -> None:
    _, train = load_digits(train=True)
    _, test = load_digits(train=False)
    assert torch.equal(test.bincount(), (train.bincount() + test.bincount()) // 5)


def test_grey_levels_span_the_bytes() -> None:
    images, labels = load_digits(train=True)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert images.shape == (1442, 1, 8, 8)
    levels = set(images.flatten().tolist())
    assert (len(levels), min(levels), max(levels)) == (17, 0, 255)


def line(label: int, values: list[float]) -> str:
    return f"{label} " + " ".join(f"{i}:{value:g}" for i, value in enumerate(values, 1)) + " "


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bz2.compress(text.encode()))


@pytest.mark.parametrize(("train", "name"), [(True, "usps.bz2"), (False, "usps.t.bz2")])
@pytest.mark.parametrize("folder", ["usps", "."])
def test_images_and_labels_are_torchvisions(tmp_path: Path, train: bool, name: str, folder: str) -> None:
    drawn = np.random.default_rng(0).uniform(-1, 1, (10, 256)).round(3)
    drawn[0, :3] = -1, 1, 0
    text = "\n".join(line(label, row.tolist()) for label, row in enumerate(drawn, 1))
    write(tmp_path / folder / name, text + "\n")
    images, labels = load_usps(tmp_path, train)
    theirs = USPS(tmp_path / folder, train=train)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert labels.tolist() == theirs.targets == list(range(10))
    assert torch.equal(images, torch.from_numpy(theirs.data)[:, None])


def test_pixels_that_a_line_leaves_out_are_zero_which_is_half_ink(tmp_path: Path) -> None:
    write(tmp_path / "usps.bz2", "3 2:-1 256:1\n")
    images, labels = load_usps(tmp_path, train=True)
    assert labels.tolist() == [2]
    assert images.flatten().tolist() == [127, 0, *[127] * 253, 255]


@pytest.mark.parametrize(("train", "name"), [(True, "usps.bz2"), (False, "usps.t.bz2")])
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(tmp_path: Path, train: bool, name: str) -> None:
    with pytest.raises(UserError) as error:
        load_usps(tmp_path, train)
    assert (
        f"expected the files of USPS, got no {name}. Get usps.bz2 and usps.t.bz2 from https://www.csie.ntu.edu.tw/"
        in str(error.value)
    )
    assert str(error.value).endswith(f"into {tmp_path / 'usps'}.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("11 1:0", "expected USPS, with labels from 1 to 10"),
        ("1 1:1.5", "values from -1 to 1"),
        ("1 1:nan", "values from -1 to 1"),
        ("", "expected USPS, with"),
        ("1 257:0", "pixel 257 of 256"),
        ("1 0:0", "pixel 0 of 256"),
        ("one 1:0", "cannot be read as USPS"),
        ("1 1=0", "cannot be read as USPS"),
        ("\n1 1:0", "cannot be read as USPS"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path / "usps.bz2", text)
    with pytest.raises(UserError, match=says):
        load_usps(tmp_path, train=True)


def test_files_that_are_not_bzip2_or_cut_short_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "usps.bz2"
    write(path, line(1, [0.0] * 256))
    for content in (path.read_bytes()[:-5], b"plain text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as USPS"):
            load_usps(tmp_path, train=True)
