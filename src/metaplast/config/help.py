"""What the configuration directory offers, read from the names and comments of its files.

What `--help` prints, made from the configuration directory without composing it: Hydra alone takes half a second.
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from metaplast.config.schema import SETTINGS
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
Go on with a run that was stopped   python src/train.py resume=outputs/train/DATE/TIME
Go on with a sweep                  python src/train.py -m resume=true and what it was started with
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
