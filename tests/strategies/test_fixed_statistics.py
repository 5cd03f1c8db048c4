"""With fixed statistics samples do not see each other, and afterwards nothing has changed."""

import pytest
import torch

from metaplast.nn import bcnn, mlp
from metaplast.nn.normalization import Statistics
from metaplast.strategies.fixed_statistics import fixed_statistics


@pytest.mark.parametrize("statistics", ["population", "running", "batch"])
def test_the_answer_to_a_sample_does_not_depend_on_its_neighbours(statistics: Statistics) -> None:
    torch.manual_seed(0)
    network = mlp((4,), 3, hidden=[6], test_statistics=statistics).eval()
    x = torch.rand(20, 4)
    with fixed_statistics(network, lambda: x.split(7)):  # type: ignore[no-untyped-call]
        torch.testing.assert_close(network(x)[3:4], network(x[3:4]))


def test_the_statistics_are_those_of_the_data() -> None:
    torch.manual_seed(0)
    network = mlp((4,), 3, hidden=[6], test_statistics="batch").eval()
    x = torch.rand(20, 4)
    expected = network(x)  # one batch that is all of the data
    with fixed_statistics(network, lambda: [x[:5], x[5:]]):
        torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("statistics", ["population", "running", "batch"])
def test_statistics_and_settings_come_back_even_after_an_error(statistics: Statistics) -> None:
    torch.manual_seed(0)
    network = bcnn((1, 8, 8), 3, channels=[4], test_statistics=statistics)
    x = torch.rand(6, 1, 8, 8)
    network(x)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="interrupted"), fixed_statistics(network, lambda: [x]):
        raise RuntimeError("interrupted")
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert {network.norm1.test_statistics, network.norm2.test_statistics} == {statistics}  # type: ignore[union-attr]
