"""The metaplastic step and the optimizers around it."""

from metaplast.optim.consolidation import f_exponential, f_meta
from metaplast.optim.groups import parameter_groups
from metaplast.optim.metaplastic_adam import MetaplasticAdam, metaplastic_adam_step
from metaplast.optim.metaplastic_sgd import MetaplasticSGD

__all__ = [
    "MetaplasticAdam",
    "MetaplasticSGD",
    "f_exponential",
    "f_meta",
    "metaplastic_adam_step",
    "parameter_groups",
]
