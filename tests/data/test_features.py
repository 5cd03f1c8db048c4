"""Files of features come back as they were written, pickles do not come in, and rows are normalized."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.data import normalize_rows, read_features, write_features
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
    with pytest.raises(UserError, match=r"f.npz is missing: .*scripts/make_features.py"):
        read_features(tmp_path / "f.npz", True, 10)


class _Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"train_features": np.array([_Trap()]), "train_labels": np.zeros(1, int)}, "cannot be read"),
        ({"train_features": np.zeros((2, 3))}, "train_labels"),
        ({"train_features": np.zeros((2, 3), int), "train_labels": np.zeros(2, int)}, "has to be floats"),
        ({"train_features": np.zeros((2, 3, 1)), "train_labels": np.zeros(2, int)}, "has to be floats"),
        ({"train_features": np.zeros((2, 3)), "train_labels": np.zeros(3, int)}, "has to be floats"),
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
