"""Checks that a configuration can be run: each setting by its constraint, and the few that have to agree."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metaplast.config.constraints import Constraint, problem, shown
from metaplast.config.messages import did_you_mean
from metaplast.config.overrides import cli_overrides, has_two_sizes, override_key
from metaplast.config.schema import GROUPS, SETTINGS
from metaplast.config.targets import TARGETS, WIDTHS_OF
from metaplast.config.unread import unread_keys
from metaplast.errors import UserError

REHEARSING = ("agem", "der", "gem", "lwf", "replay")
"""Strategies that hold on to old tasks by what the network, as it is at present, answers to images."""


def check(config: DictConfig) -> None:
    """Raise UserError, with one line for each setting that is not valid.

    `config` is a composed configuration, with Hydra's own section or without. Nothing is imported, built or written.
    """
    problems = (
        [*_wrong_choices(config)]
        or [*_wrong_settings(config), *_wrong_arguments(config), *unread_keys(config)]
        or [*_contradictions(config)]
    )
    if problems:
        raise UserError("\n".join(problems))


def warnings(config: DictConfig) -> list[str]:
    """Return a sentence for each setting of a checked configuration that may not do what its user expects."""
    name, said = _name(config.strategy), []
    if config.m is not None and not config.strategy.uses_m:
        said.append(f"m={shown(_value(config, 'm'))} has no effect: strategy={name} does not use it")
    if name in REHEARSING and config.model.get("norm_per_task") and config.model.get("norm") != "none":
        said.append(
            f"strategy={name} shows old images to the normalization of the present task, but each old task is tested "
            "with its own; with model.norm_per_task=false more is kept"
        )
    return said


def n_layers(config: DictConfig) -> int:
    """Return the number of weight layers of the model, which is the length of a list for m; it is in WIDTHS_OF."""
    return sum(len(config.model[key]) for key in WIDTHS_OF[config.model["_target_"]] if key in config.model) + 1


def _wrong_choices(config: DictConfig) -> Iterator[str]:
    choices = _choices_made(config)
    for group in GROUPS if choices else ():
        if group not in choices:
            yield f"{group}: expected one choice, got a list or none"


def _wrong_settings(config: DictConfig) -> Iterator[str]:
    for key, setting in SETTINGS.items():
        if setting.required or _exists(config, key):
            yield from _wrong_value(config, key, setting.constraint)


def _wrong_value(config: DictConfig, key: str, constraint: Constraint) -> Iterator[str]:
    if not _exists(config, key):
        yield f"{key}: expected {constraint.description}, got nothing: it is missing"
        return
    typed = str(_typed(config, key))
    if "${hydra" in typed:
        return  # known only once Hydra starts the job
    try:
        value = _value(config, key)
    except OmegaConfBaseException as error:
        yield f"{key}={typed}: {str(error).splitlines()[0]}"
        return
    if not constraint.is_valid(value):
        variable = re.search(r"\$\{oc\.env:(\w+)", typed)
        note = f" (from the environment variable {variable[1]})" if variable else ""
        source = re.fullmatch(r"\$\{((?:strategy|scenario|model|trainer)\.[\w.]+)\}", typed)  # set there by the user
        line = problem(source[1] if source else key, value, constraint, note)
        yield line + did_you_mean(str(value), constraint.choices)


def _wrong_arguments(config: DictConfig) -> Iterator[str]:
    """Check that each section to build has a target, and the arguments of our own targets."""
    choices, plugins = _choices_made(config), OmegaConf.select(config, "strategy.plugins")
    if not isinstance(plugins, ListConfig):
        yield "strategy.plugins: expected a list of Avalanche plugins, each with a _target_"
        plugins = ListConfig([])
    for place in ("scenario", "model", "strategy.optimizer", *(f"strategy.plugins[{i}]" for i in range(len(plugins)))):
        node = OmegaConf.select(config, place)
        if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
            choice = f"={choices[place]}" if place in choices else ""
            yield f"{place}{choice}: expected a section with a _target_, the function or class to build it with"
            continue
        for key, setting in TARGETS.get(node["_target_"], {}).items():
            if _exists(config, f"{place}.{key}"):
                yield from _wrong_value(config, f"{place}.{key}", setting.constraint)
            elif place.startswith("strategy.plugins") and _exists(config, f"strategy.{key}"):
                yield from _wrong_value(config, f"strategy.{key}", setting.constraint)


def _contradictions(config: DictConfig) -> Iterator[str]:
    """Check the settings that have to agree; each by itself is valid."""
    if "budget" in map(override_key, cli_overrides(config)) and not has_two_sizes(config):
        yield f"budget={config.budget}: nothing here has two sizes; an experiment has, such as experiment=fig2"
    if config.epochs_per_task % config.eval_every_n_epochs:
        yield (
            f"eval_every_n_epochs={config.eval_every_n_epochs}: expected a divisor of "
            f"epochs_per_task={config.epochs_per_task}, so that all tasks are tested when one ends, "
            f"got {config.eval_every_n_epochs}"
        )
    for key in ("n_tasks", "n_parts"):
        tasks = config.scenario.get(key)
        if config.max_tasks is not None and isinstance(tasks, int) and config.max_tasks > tasks:
            yield f"max_tasks={config.max_tasks}: expected at most scenario.{key}={tasks}, got {config.max_tasks}"
    if config.logger.get("model_artifact") and not config.trainer.checkpoint_every:
        yield "logger.model_artifact=true: there is no checkpoint to upload with trainer.checkpoint_every=0"
    yield from _wrong_data_dir(config)
    yield from _wrong_precision(config)
    yield from _batches_of_one(config)
    yield from _wrong_m(config)


def _wrong_data_dir(config: DictConfig) -> Iterator[str]:
    """Refuse what is no directory and cannot become one."""
    path = Path(config.data_dir).expanduser()
    try:
        existing = next((parent for parent in (path, *path.parents) if parent.exists()), path)
    except OSError as error:  # a name that is too long
        yield f"data_dir={config.data_dir}: expected a directory that can be made ({error.strerror})"
        return
    if not existing.is_dir():
        yield f"data_dir={config.data_dir}: expected a directory, got a file ({existing})"


def _wrong_precision(config: DictConfig) -> Iterator[str]:
    """Refuse a precision that a plugin does not support: Avalanche's datasets, which some use, have 32 bits."""
    name = _name(config.strategy)
    if config.trainer.precision == "64-true" and name in ("agem", "der", "gem"):
        yield f"trainer.precision=64-true: does not go with strategy={name}, which remembers 32-bit images"
    if config.trainer.precision == "64-true" and config.strategy.get("fisher") == "batch":
        yield "trainer.precision=64-true: does not go with strategy.fisher=batch, which takes 32-bit images"
    if config.trainer.precision == "16-mixed" and name == "gem":
        yield (
            "trainer.precision=16-mixed: does not go with strategy=gem, which compares gradients that this scales with "
            "others; take bf16-mixed"
        )


def _batches_of_one(config: DictConfig) -> Iterator[str]:
    """A single image has no variance to normalize by; all of our networks end in a linear layer that is normalized."""
    if config.model.get("norm") == "batch" and config.model["_target_"] in WIDTHS_OF:
        sizes = ["batch_size", *(["eval_batch_size"] if config.model.get("test_statistics") == "batch" else [])]
        for size in sizes:
            if config[size] == 1:
                yield f"{size}=1: expected 2 or more, since model.norm=batch divides by the variance of a batch, got 1"
        if _name(config.strategy) in ("agem", "gem"):  # what they remember of a task is a batch of its own
            for size in ("patterns_per_experience", "sample_size"):
                if config.strategy.get(size) == 1:
                    yield f"strategy.{size}=1: expected 2 or more, as model.norm=batch divides by the variance, got 1"


def _wrong_m(config: DictConfig) -> Iterator[str]:
    m = _value(config, "m")
    widths = [key for key in WIDTHS_OF.get(config.model["_target_"], ()) if key in config.model]
    if isinstance(m, list) and widths and len(m) != n_layers(config):
        layers = " and ".join(f"model.{key}={shown(_value(config, f'model.{key}'))}" for key in widths)
        yield f"m={shown(m)}: expected one number per weight layer, {n_layers(config)} with {layers}, got {len(m)}"


def _choices_made(config: DictConfig) -> Mapping[str, Any]:
    return OmegaConf.select(config, "hydra.runtime.choices") or {}


def _exists(config: DictConfig, key: str) -> bool:
    section, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, section) if section else config
    return isinstance(node, DictConfig) and leaf in map(str, node)  # `leaf in node` is false for a missing value


def _typed(config: DictConfig, key: str) -> Any:
    """Return a value as it was written, its interpolations unresolved."""
    section, _, leaf = key.rpartition(".")
    node = OmegaConf.select(config, section) if section else config
    return OmegaConf.to_container(OmegaConf.masked_copy(node, leaf), resolve=False)[leaf]  # type: ignore[index, call-overload]


def _value(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key, throw_on_missing=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _name(node: DictConfig) -> str:
    return str(node.get("name"))
