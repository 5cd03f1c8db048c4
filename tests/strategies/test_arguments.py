"""Settings of plugins that cannot be are refused by name, before anything is trained."""

from collections.abc import Callable
from typing import Any

import pytest

from metaplast.errors import UserError
from metaplast.strategies.agem import AGEM
from metaplast.strategies.der import DER
from metaplast.strategies.gem import GEM
from metaplast.strategies.lwf import LwF
from metaplast.strategies.mas import MAS
from metaplast.strategies.replay import Replay
from metaplast.strategies.rwalk import RWalk


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AGEM(0, 64), "patterns_per_experience=0: an integer >= 1 is needed"),
        (lambda: AGEM(256, -1), "sample_size=-1: an integer >= 1 is needed"),
        (lambda: GEM(0, 0.5), "patterns_per_experience=0: an integer >= 1 is needed"),
        (lambda: GEM(256, -0.5), "memory_strength=-0.5: a number >= 0 is needed"),
        (lambda: DER(0), "mem_size=0: an integer >= 1 is needed"),
        (lambda: DER(200, 0), "batch_size_mem=0: null or an integer >= 1 is needed"),
        (lambda: DER(200, alpha=-1), "alpha=-1: a number >= 0 is needed"),
        (lambda: DER(200, beta=float("nan")), "beta=nan: a number >= 0 is needed"),
        (lambda: Replay(200, -5), "batch_size_mem=-5: null or an integer >= 1 is needed"),
        (lambda: LwF([1.0, -1.0]), "alpha=-1.0: a number >= 0 is needed"),
        (lambda: LwF(1.0, 0), "temperature=0: a number > 0 is needed"),
        (lambda: MAS(-1), "lambda_reg=-1: a number >= 0 is needed"),
        (lambda: MAS(1, 5), "alpha=5: a number from 0 to 1 is needed"),
        (lambda: RWalk(-1), "ewc_lambda=-1: a number >= 0 is needed"),
        (lambda: RWalk(1, 2), "ewc_alpha=2: a number from 0 to 1 is needed"),
        (lambda: RWalk(1, 0.9, 0), "delta_t=0: an integer >= 1 is needed"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_name(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        make()
    assert str(refused.value) == said
