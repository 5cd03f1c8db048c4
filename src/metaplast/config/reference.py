"""What a user looks up: the text of `--help`, docs/settings.md, and conf/schema.json for editors.

`--help` is made from the names and comments of the configuration's files without composing them: Hydra alone takes half
a second.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.config.constraints import shown
from metaplast.config.schema import SETTINGS, Setting
from metaplast.config.targets import TARGETS
from metaplast.system import train_command


def groups(conf: Path) -> list[str]:
    """Return the names of the groups that a user chooses from."""
    return sorted({path.parent.name for path in conf.glob("*/*.yaml")} - {"hydra"})


def choices(conf: Path, group: str) -> dict[str, str]:
    """Return the choices of `group`, each with what the first comment in its file says."""
    return {path.stem: _comment(path) for path in sorted((conf / group).glob("*.yaml"))}


def _comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ")
    return ""


WIDTH = 118

HEAD = """\
Train one network on a sequence of tasks, and see how much of the old ones is left.

  python src/train.py strategy=meta m=1.3 scenario=pmnist
"""

TAIL = """\
Also every setting of a choice, such as model.hidden=[512,512] or strategy.optimizer.lr=0.01; all, with their values:
  python src/train.py --cfg job strategy=meta model=bnn

A sweep, its jobs side by side      python src/train.py -m m=0,0.5,1.0,1.35
A search for the best settings      python src/train.py hparams_search=meta
m chosen on the first two tasks     python src/train.py hparams=first_tasks
The paper's size, our normalization python src/train.py experiment=paper
The paper's own size and settings   python src/train.py experiment=fig2 budget=paper
Resume an interrupted run           python src/train.py resume=outputs/train/DATE/TIME
Resume a sweep                      python src/train.py -m resume=true and what it was started with
Where the files of a run go         python src/train.py hydra.run.dir=DIRECTORY
Tab completion, for this shell      eval "$(python src/train.py -sc install=bash)"
Hydra's own flags and settings      python src/train.py --hydra-help

Exit status: 0 done, 1 the run failed, 2 the command was refused (nothing written), 130 Ctrl-C, 143 terminated.
"""


def help_text(conf: Path) -> str:
    """Return the text for `--help`: the user's command, the groups with their choices, the settings, more commands."""
    main = (conf / "train.yaml").read_text(encoding="utf-8")
    text = "\n".join([HEAD, *_choice_lines(conf, main), "", *_setting_lines(main), "", TAIL])
    return text.replace("python src/train.py", train_command())


def _choice_lines(conf: Path, main: str) -> Iterator[str]:
    defaults = dict(re.findall(r"^  - (\w+): (\w+)", main, re.MULTILINE))
    yield "Choices, as GROUP=CHOICE (* unless you say otherwise)"
    for group in [*(group for group in defaults if group in groups(conf)), *sorted({*groups(conf)} - {*defaults})]:
        for n, (choice, comment) in enumerate(choices(conf, group).items()):
            start = f"  {group if n == 0 else '':15}{'*' if defaults.get(group) == choice else ' '} {choice:18} "
            yield _line(start, re.split(r"\. (?=[A-Z])", comment)[0])


def _setting_lines(main: str) -> Iterator[str]:
    """List the settings of train.yaml itself, with its defaults and the schema's explanations."""
    yield "Settings, as KEY=VALUE (with their defaults); all settings: docs/settings.md"
    defaults = dict(re.findall(r"^(\w+): *([^#\n]+?) *(?:#.*)?$", main, re.MULTILINE))
    for key, setting in SETTINGS.items():
        if key in defaults:
            yield _line(f"  {f'{key}={defaults[key]}':24} ", setting.text)


def _line(start: str, comment: str) -> str:
    return (start + textwrap.shorten(comment, WIDTH - len(start), placeholder=" …")).rstrip()


INTRODUCTION = """\
# Settings

Look up what a setting means, its default and its values. Each is typed as `KEY=VALUE` behind `python src/train.py`, or
written in a YAML file of your own. A value out of its range is refused in one line, and so is a key that nothing reads.

`python scripts/settings_page.py` generates this page from `conf/` and from `schema.py` and `targets.py` in
`src/metaplast/config/`.
"""
SECTIONS = {
    "": ("Settings of the run", "train.yaml"),
    "strategy": ("Settings of every strategy", "strategy/finetune.yaml"),
    "trainer": ("`trainer`: device, threads, checkpoints", "trainer/auto.yaml"),
    "logger": ("`logger=wandb`: Weights & Biases", "logger/wandb.yaml"),
    "first_tasks": ("`hparams=first_tasks`: m from the first tasks", "hparams/first_tasks.yaml"),
    "search": ("`hparams_search=…`: a search", "hparams_search/parts/study.yaml"),
}
"""By section, the heading and the file of the defaults."""
INTERPOLATION = {"type": "string", "pattern": r"\$\{"}


def settings_page(conf: Path) -> str:
    """Return docs/settings.md, with the defaults of the directory `conf`."""
    from metaplast.config.unread import parameters  # imports Hydra, without which --help does

    parts = [INTRODUCTION]
    for section, (heading, file) in SECTIONS.items():
        defaults: Mapping[str, Any] = _load(conf / file)
        defaults = defaults.get(section, defaults)
        rows = {key: setting for key, setting in SETTINGS.items() if key.rpartition(".")[0] == section}
        parts.append(_table(heading, rows, {key: defaults.get(key.rpartition(".")[2]) for key in rows}))
    for target, settings in TARGETS.items():
        place, heading, defaults = _choice(conf, target)
        source = parameters(target) or {}
        values = {key: defaults[key] if key in defaults else _Source(source.get(key)) for key in settings}
        parts.append(
            _table(
                heading,
                {f"{place}.{key}": settings[key] for key in settings},
                {f"{place}.{key}": value for key, value in values.items()},
            )
        )
    return "\n".join(parts)


def json_schema() -> dict[str, Any]:
    """Return conf/schema.json: what a file of each group may hold, and one with `# @package _global_`."""
    of = {
        "scenario": _of_targets("metaplast.scenarios."),
        "model": _of_targets("metaplast.nn.models."),
        "strategy": _strategy(),
        **{section: _of_section(section) for section in ("trainer", "logger", "first_tasks", "search")},
    }
    top = {key: _fragment(setting) for key, setting in SETTINGS.items() if "." not in key}
    sections = {section: {"$ref": f"#/$defs/{section}"} for section in of}
    whole = _object({**top, **sections, "hydra": {"type": "object"}}, closed=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated by scripts/settings_page.py from schema.py and targets.py in src/metaplast/config/.",
        "$defs": {"global": whole, **of},
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("global", *of)],
    }


def write(conf: Path, docs: Path) -> None:
    """Write both files."""
    (docs / "settings.md").write_text(settings_page(conf), encoding="utf-8")
    (conf / "schema.json").write_text(f"{json.dumps(json_schema(), indent=1)}\n", encoding="utf-8")


class _Source(str):
    """A default that is written in Python."""

    def __new__(cls, text: str | None) -> "_Source":
        return super().__new__(cls, text or "")


def _table(heading: str, settings: Mapping[str, Setting], defaults: Mapping[str, Any]) -> str:
    rows = [
        f"| `{key}` | {_default(defaults[key])} | {setting.constraint.description} | {setting.text} |"
        for key, setting in settings.items()
    ]
    head = ["| setting | default | values | what it does |", "|---|---|---|---|"]
    return "\n".join([f"## {heading}", "", *head, *(row.replace("|W^h|", "\\|W^h\\|") for row in rows), ""])


def _default(value: Any) -> str:
    text = value if isinstance(value, _Source) else shown(value)
    return f"`{text}`" if text else ""


def _choice(conf: Path, target: str) -> tuple[str, str, Mapping[str, Any]]:
    """Return the section that `target` is chosen for, a heading, and the defaults of its first choice."""
    for group in ("scenario", "model", "strategy"):
        for path in sorted((conf / group).glob("*.yaml"), key=lambda path: (len(path.stem), path.stem)):
            node = _load(path)
            node = node.get("strategy", node) if group == "strategy" else node
            if node.get("_target_") == target:
                return group, f"`{group}={path.stem}`", node
            if node.get("optimizer", {}).get("_target_") == target:
                return "strategy.optimizer", f"`strategy.optimizer`: {target.rpartition('.')[2]}", node["optimizer"]
            for plugin in node.get("plugins", ()):
                if plugin["_target_"] == target:
                    return "strategy", f"`strategy={path.stem}`", {**plugin, **node}
    raise LookupError(f"no file of {conf} builds {target}")


def _load(path: Path) -> dict[str, Any]:
    """Return a file of conf/, below it the files of its own group that its defaults list names."""
    node: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for entry in node.pop("defaults", ()):
        if isinstance(entry, str) and entry.endswith("@_here_"):
            node = {**_load(path.parent / f"{entry.removesuffix('@_here_')}.yaml"), **node}
    return node


def _fragment(*settings: Setting) -> dict[str, Any]:
    texts = list(dict.fromkeys(setting.text for setting in settings))
    constraints = [dict(setting.constraint.json) for setting in settings]
    unique = [constraint for i, constraint in enumerate(constraints) if constraint not in constraints[:i]]
    return {"description": " / ".join(texts), "anyOf": [*unique, INTERPOLATION]}


def _object(properties: Mapping[str, Any], closed: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {"defaults": {"type": "array"}, **properties}}
    return {**schema, "additionalProperties": False} if closed else schema


def _of_section(section: str) -> dict[str, Any]:
    own = {
        key.partition(".")[2]: _fragment(setting) for key, setting in SETTINGS.items() if key.startswith(f"{section}.")
    }
    label = {"name": {"type": "string"}} if section == "logger" else {}
    return _object({**label, **own}, closed=True)


def _arguments(targets: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    by_name: dict[str, list[Setting]] = {}
    for target in targets:
        for name, setting in TARGETS[target].items():
            by_name.setdefault(name, []).append(setting)
    for name, settings in by_name.items():
        yield name, _fragment(*settings)


def _of_targets(prefix: str) -> dict[str, Any]:
    """Our own targets have the arguments of the schema; a target of the user's may have any."""
    ours = [target for target in TARGETS if target.startswith(prefix)]
    label = {"_target_": {"type": "string"}, "name": {"type": "string"}}
    schema = _object({**label, **dict(_arguments(ours))}, closed=False)
    return {
        **schema,
        "if": {"properties": {"_target_": {"enum": ours}}},
        "then": {"propertyNames": {"enum": [*schema["properties"]]}},
    }


def _strategy() -> dict[str, Any]:
    """With plugins of one's own, there may be keys that these interpolate."""
    ours = [target for target in TARGETS if target.startswith("metaplast.strategies.")]
    properties = {
        "name": {"type": "string"},
        "optimizer": _of_targets("metaplast.optim."),
        "plugins": {"type": "array", "items": _of_targets("metaplast.strategies.")},
        **_of_section("strategy")["properties"],
        **dict(_arguments(ours)),
    }
    schema = _object(properties, closed=False)
    only_ours = {"plugins": {"items": {"properties": {"_target_": {"enum": ours}}}}}
    return {
        **schema,
        "if": {"properties": only_ours},
        "then": {"propertyNames": {"enum": [*schema["properties"]]}},
    }
