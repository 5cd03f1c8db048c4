"""The digits that come with scikit-learn: 1,797 handwritten digits of 8 x 8 pixels; nothing is downloaded.

Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI).
"""

import numpy as np
import torch
from torch import Tensor


def load_digits(train: bool) -> tuple[Tensor, Tensor]:
    """Handwritten digits: uint8 images (N, 1, 8, 8) and int64 labels (N,), N = 1,442 to train or 355 to test.

    The file's 17 gray levels, 0 to 16, are scaled to 0 to 255. The split is fixed: of each class, every fifth digit in
    the file's order (the 5th, the 10th, …) is for testing. Both parts keep that order.

    >>> images, labels = load_digits(train=False)
    >>> images.shape, labels.bincount().tolist()
    (torch.Size([355, 1, 8, 8]), [35, 36, 35, 36, 36, 36, 36, 35, 34, 36])
    """
    from sklearn import datasets  # imported late, since it takes a second

    pixels, classes = datasets.load_digits(return_X_y=True)
    # position of each digit within its class, from 0
    rank = np.empty_like(classes)
    for label in np.unique(classes):
        rank[classes == label] = np.arange((classes == label).sum())
    chosen = (rank % 5 != 4) if train else (rank % 5 == 4)
    images = np.round(pixels[chosen] * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(images).reshape(-1, 1, 8, 8), torch.from_numpy(classes[chosen]).long()
