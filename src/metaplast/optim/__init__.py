"""The metaplastic step and the optimizers around it."""

from metaplast.optim.functional import f_exponential, f_meta, metaplastic_adam_step, metaplastic_sgd_step
from metaplast.optim.metaplastic_adam import MetaplasticAdam
from metaplast.optim.metaplastic_sgd import MetaplasticSGD
from metaplast.optim.param_groups import parameter_groups

__all__ = [
    "MetaplasticAdam",
    "MetaplasticSGD",
    "f_exponential",
    "f_meta",
    "metaplastic_adam_step",
    "metaplastic_sgd_step",
    "parameter_groups",
]
