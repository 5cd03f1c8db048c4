"""The metaplastic step and the optimizer around it."""

from metaplast.optim.groups import parameter_groups
from metaplast.optim.metaplastic_adam import MetaplasticAdam, f_meta, metaplastic_adam_step

__all__ = ["MetaplasticAdam", "f_meta", "metaplastic_adam_step", "parameter_groups"]
