"""Configurations of old run directories still find their networks."""

from metaplast.nn import models, networks


def test_the_former_name_gives_the_same_networks() -> None:
    assert [getattr(networks, name) for name in networks.__all__] == [models.bcnn, models.bnn, models.mlp, models.vgg]
