"""LwF has a teacher without dropout, and may have another weight for each experience."""

from copy import deepcopy

import pytest
from torch import nn

from metaplast.errors import UserError
from metaplast.strategies.plugins.lwf import LwF, _without_dropout
from metaplast.testing.plugin_docs import plain


def test_the_teacher_drops_nothing() -> None:
    network = nn.Sequential(plain(), nn.Dropout(0.5)).train()
    plugin = LwF(2.0, 3.0)
    plugin.lwf.prev_model = deepcopy(network)
    _without_dropout(plugin.lwf.prev_model)
    assert [module.training for module in plugin.lwf.prev_model.modules() if isinstance(module, nn.Dropout)] == [False]
    assert network[1].training


def test_each_weight_of_a_list_is_checked() -> None:
    with pytest.raises(UserError, match=r"^alpha=\[1\.0,-1\.0\]: expected a number >= 0 or a list of such"):
        LwF([1.0, -1.0])
