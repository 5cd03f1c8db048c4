"""Whether a configuration can be run: each setting by its rule, and the few that have to agree with another."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metaplast.config.instantiate import LABELS
from metaplast.config.messages import did_you_mean
from metaplast.config.overrides import given, key_of
from metaplast.config.resolvers import has_two_sizes
from metaplast.config.schema import (
    GROUPS,
    OPEN_SECTIONS,
    OPTIONAL_SETTINGS,
    SETTINGS,
    TARGETS,
    WIDTHS_OF,
    Rule,
)
from metaplast.errors import UserError

REHEARSING = ("agem", "der", "gem", "lwf", "replay")
"""Strategies that hold on to old tasks by what the network, as it is at present, answers to images."""


def check(config: DictConfig) -> None:
    """Raise UserError, with a line for each setting that cannot be.

    `config` is a composed configuration, with Hydra's own section or without. Nothing is imported, built or written.
    """
    problems = (
        [*_broken_choices(config)]
        or [*_broken_settings(config), *_broken_targets(config), *_unread_keys(config)]
        or [*_contradictions(config)]
    )
    if problems:
        raise UserError("\n".join(problems))


def warnings(config: DictConfig) -> list[str]:
    """Return a sentence for each thing in a checked configuration that goes, but hardly as its user expects."""
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
    """Return how many weight layers the model has, and so the numbers of a list for m; the model is in WIDTHS_OF."""
    return sum(len(config.model[key]) for key in WIDTHS_OF[config.model["_target_"]] if key in config.model) + 1


def shown(value: Any) -> str:
    """Write a value as it is typed on the command line.

    >>> shown([True, None, 0.5, "a"])
    '[true,null,0.5,a]'
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def _broken_choices(config: DictConfig) -> Iterator[str]:
    choices = _choices_made(config)
    for group in GROUPS if choices else ():
        if group not in choices:
            yield f"{group}: takes one choice, no list, and cannot go without"


def _broken_settings(config: DictConfig) -> Iterator[str]:
    for key, rule in SETTINGS.items():
        yield from _broken_rule(config, key, rule)
    for key, rule in OPTIONAL_SETTINGS.items():
        if _exists(config, key):
            yield from _broken_rule(config, key, rule)


def _broken_rule(config: DictConfig, key: str, rule: Rule) -> Iterator[str]:
    if not _exists(config, key):
        yield f"{key} is missing: it has to be {rule.says}"
        return
    typed = str(_typed(config, key))
    if "${hydra" in typed:
        return  # known only once Hydra starts the job
    try:
        value = _value(config, key)
    except OmegaConfBaseException as error:
        yield f"{key}={typed}: {str(error).splitlines()[0]}"
        return
    if not rule.accepts(value):
        variable = re.search(r"\$\{oc\.env:(\w+)", typed)
        source = f" (from the environment variable {variable[1]})" if variable else ""
        yield f"{key}={shown(value)}{source}: has to be {rule.says}{did_you_mean(str(value), rule.choices)}"


def _broken_targets(config: DictConfig) -> Iterator[str]:
    """Check that what is to be built says from what, and the arguments of our own targets."""
    choices, plugins = _choices_made(config), OmegaConf.select(config, "strategy.plugins")
    if not isinstance(plugins, ListConfig):
        yield "strategy.plugins: has to be a list of Avalanche plugins, each with a _target_"
        plugins = ListConfig([])
    for place in ("scenario", "model", "strategy.optimizer", *(f"strategy.plugins[{i}]" for i in range(len(plugins)))):
        node = OmegaConf.select(config, place)
        if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
            choice = f"={choices[place]}" if place in choices else ""
            yield f"{place}{choice}: has to have a _target_, the function or class that it is built with"
            continue
        rules = TARGETS.get(node["_target_"])
        if rules is not None:
            yield from _broken_arguments(config, place, [str(key) for key in node], rules)


def _broken_arguments(config: DictConfig, place: str, keys: list[str], rules: Mapping[str, Rule]) -> Iterator[str]:
    for key in keys:
        if key in rules:
            yield from _broken_rule(config, f"{place}.{key}", rules[key])
        elif key not in LABELS and not key.startswith("_"):
            yield f"{place}.{key}: nothing reads it{did_you_mean(key, rules)}; {place} takes {', '.join(rules)}"


def _unread_keys(config: DictConfig) -> Iterator[str]:
    """Refuse `+key=value` where nobody would ever look at the key."""
    known = {*SETTINGS, *_choices_made(config)}
    for override in given(config):
        key = key_of(override)
        if override.startswith("+") and key not in known and key.partition(".")[0] not in (*OPEN_SECTIONS, "hydra"):
            yield (
                f"{override}: nothing reads {key}{did_you_mean(key, known)}; "
                f"settings of your own go below {', '.join(OPEN_SECTIONS)}"
            )


def _contradictions(config: DictConfig) -> Iterator[str]:
    """Check what two settings have to agree on; each by itself is known to be good."""
    if "budget" in map(key_of, given(config)) and not has_two_sizes(config):
        yield f"budget={config.budget}: nothing here has two sizes; an experiment has, such as experiment=fig2"
    if config.epochs_per_task % config.measure_every:
        yield (
            f"measure_every={config.measure_every}: has to divide epochs_per_task={config.epochs_per_task}, "
            "so that all tasks are tested when one ends"
        )
    for key in ("n_tasks", "n_parts"):
        tasks = config.scenario.get(key)
        if config.only_tasks is not None and isinstance(tasks, int) and config.only_tasks > tasks:
            yield f"only_tasks={config.only_tasks}: has to be at most scenario.{key}={tasks}"
    if config.logger.get("model_artifact") and not config.trainer.checkpoint_every:
        yield "logger.model_artifact=true: there is no checkpoint to upload with trainer.checkpoint_every=0"
    yield from _wrong_precision(config)
    yield from _batches_of_one(config)
    yield from _wrong_m(config)


def _wrong_precision(config: DictConfig) -> Iterator[str]:
    """What a plugin cannot do in the precision asked for: Avalanche's datasets, which some look at, are of 32 bits."""
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
                yield f"{size}=1: has to be 2 or more, since model.norm=batch divides by the variance of a batch"
        if _name(config.strategy) in ("agem", "gem"):  # what they remember of a task is a batch of its own
            for size in ("patterns_per_experience", "sample_size"):
                if config.strategy.get(size) == 1:
                    yield f"strategy.{size}=1: has to be 2 or more, as model.norm=batch divides by the variance"


def _wrong_m(config: DictConfig) -> Iterator[str]:
    m = _value(config, "m")
    widths = [key for key in WIDTHS_OF.get(config.model["_target_"], ()) if key in config.model]
    if isinstance(m, list) and widths and len(m) != n_layers(config):
        given_widths = " and ".join(f"model.{key}={shown(_value(config, f'model.{key}'))}" for key in widths)
        yield (
            f"m={shown(m)}: has {len(m)} numbers, but has to have one a weight layer: {n_layers(config)} with "
            f"{given_widths}"
        )


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
    return OmegaConf.to_container(node, resolve=False)[leaf]  # type: ignore[index, call-overload]


def _value(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key, throw_on_missing=True)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _name(node: DictConfig) -> str:
    return str(node.get("name"))
