"""The metaplastic step and the optimizers around it."""

from metaplast.optim._base import parameter_groups
from metaplast.optim.functional import f_exponential, f_meta, metaplastic_adam_step, metaplastic_sgd_step
from metaplast.optim.metaplastic_adam import MetaplasticAdam
from metaplast.optim.metaplastic_sgd import MetaplasticSGD

__all__ = [
    "MetaplasticAdam",
    "MetaplasticSGD",
    "f_exponential",
    "f_meta",
    "metaplastic_adam_step",
    "metaplastic_sgd_step",
    "parameter_groups",
]
