"""Former name of :mod:`metaplast.nn.models`, by which the configurations of old run directories find their network."""

from metaplast.nn.models import bcnn, bnn, mlp, vgg

__all__ = ["bcnn", "bnn", "mlp", "vgg"]
