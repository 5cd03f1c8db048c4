"""Laws of every consolidation function."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.optim.functional import CONSOLIDATIONS

metaplasticities = st.floats(0, 10)


@pytest.mark.parametrize("name", CONSOLIDATIONS)
@given(w=st.floats(-3, 3, width=32), m=metaplasticities, other=metaplasticities)
def test_it_lies_in_the_unit_interval_and_falls_in_size_and_in_m(name: str, w: float, m: float, other: float) -> None:
    share, (m, larger) = CONSOLIDATIONS[name], sorted((m, other))
    hidden = torch.tensor([w], dtype=torch.float64)
    assert 0 <= share(m, hidden).item() <= 1
    assert share(m, torch.zeros(1)).item() == 1
    assert share(m, -hidden).item() == share(m, hidden).item()
    assert share(larger, hidden).item() <= share(m, hidden).item()
    assert share(m, 2 * hidden).item() <= share(m, hidden).item()
