"""scikit-learn's digits are split once and for all, class by class, and lose nothing."""

import numpy as np
import torch
from sklearn import datasets

from metaplast.data import load_digits


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
