"""Study forgetting in binarized neural networks.

    metaplast train strategy=meta m=1.3 scenario=pmnist
    metaplast COMMAND --help

`python -m metaplast` is the same.
"""

import importlib
import pkgutil
import re
import sys

import metaplast
from metaplast.cli import commands
from metaplast.errors import REFUSED


def main() -> int:
    """Run the command that the first argument names, with the others; return its exit status."""
    first, *others = sys.argv[1:] or ["--help"]
    if first in ("-h", "--help"):
        print(help_text())
        return 0
    if first == "--version":
        print(metaplast.__version__)
        return 0
    name = first.replace("-", "_")
    if name not in names():
        print(f"error: {_unknown(first)}; metaplast --help lists the commands", file=sys.stderr)
        return REFUSED
    sys.argv = [f"metaplast {first}", *others]
    status: int = importlib.import_module(f"{commands.__name__}.{name}").main()
    return status


def names() -> list[str]:
    """The modules of the commands; `make_features` is typed as `make-features`."""
    found = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    return sorted(found, key=lambda name: (name != "train", name))


def help_text() -> str:
    """What `metaplast --help` prints: the commands, each with the beginning of its module's first sentence."""
    lines = []
    for name in names():
        doc = importlib.import_module(f"{commands.__name__}.{name}").__doc__ or ""
        about = re.split(r"[:,.] |[.]?\n", doc)[0]
        lines.append(f"  {name.replace('_', '-'):21}{about}")
    return "\n".join([(__doc__ or "").strip(), "", "Commands:", *lines])


def _unknown(word: str) -> str:
    from metaplast.config.messages import did_you_mean

    if "=" in word or word in ("-m", "--multirun"):
        return f"{word}: expected a command first, as in metaplast train {word}"
    return f"{word}: there is no such command{did_you_mean(word, [name.replace('_', '-') for name in names()])}"


if __name__ == "__main__":
    sys.exit(main())
