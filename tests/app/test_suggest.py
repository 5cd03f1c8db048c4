"""The word that was probably meant."""

from hypothesis import given
from hypothesis import strategies as st

from metaplast.app.suggest import closest, did_you_mean

KEYS = ["m", "seed", "epochs_per_task", "model.norm", "model.norm_affine", "model.hidden", "strategy.optimizer.lr"]


@given(st.sampled_from(KEYS))
def test_a_known_key_is_its_own_closest(key: str) -> None:
    assert closest(key, KEYS) == key


@given(st.sampled_from([key for key in KEYS if len(key) > 4]), st.data())
def test_a_key_with_one_letter_missing_is_recognized(key: str, data: st.DataObject) -> None:
    missing = data.draw(st.integers(0, len(key) - 1))
    assert closest(key[:missing] + key[missing + 1 :], KEYS) is not None


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    assert did_you_mean("zzzz", KEYS) == ""
    assert did_you_mean("hiden", KEYS) == " (did you mean model.hidden?)"
