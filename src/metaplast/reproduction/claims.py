"""The claims of the paper and of its outlook, read from claims.yaml: what is claimed, how it is tried, how judged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.reproduction import judges as verdicts
from metaplast.reproduction.judges import Finding

NOT_AT_HAND = "The numbers of the paper itself are not at hand: its full text could not be read."


@dataclass(frozen=True)
class Claim:
    """A row of docs/results.md; the keys of claims.yaml are these, and `sweep` and `judged_with`."""

    name: str
    """What is typed to run it, and the folder of its results."""
    says: str
    """The claim, in a sentence."""
    commands: tuple[str, ...]
    """What to run, in this order, as Python's arguments; `{out}` is the folder of the results, `{budget}` cpu or paper.

    In the file `sweep: experiment=NAME …` stands for one that runs src/train.py at both sizes.
    """
    judge: Callable[..., Finding]
    """Takes the sweep in the folder and those of `needs`, or, with `rows`, a list of dictionaries.

    In the file: the name of a function in `metaplast.reproduction.judges`; `judged_with` holds more arguments of it.
    """
    tolerance: str
    """How far from the claim a result may lie and still count; ours."""
    paper: str = ""
    """What the paper says, as far as it could be read."""
    number_at_hand: bool = False
    """Whether that holds the number to compare with."""
    needs: tuple[str, ...] = ()
    """Other claims whose runs are looked at, too."""
    rows: tuple[str, ...] | None = None
    """Where a script leaves its numbers: a JSON file in the folder and the key of the list in it, or a CSV file."""
    pictures: tuple[str, ...] = ()
    """Files of the folder to show."""
    note: str = ""
    """What a reader has to know besides."""
    one_size: bool = False
    """Whether the CPU size is the paper's own."""
    why_cpu: str = ""
    """Why it did not hold, or in part, at CPU size: written by hand once it was looked into."""
    why_paper: str = ""

    @property
    def budgets(self) -> tuple[str, ...]:
        """The sizes that it can be run at."""
        return ("cpu",) if self.one_size else ("cpu", "paper")

    @property
    def paper_says(self) -> str:
        """What the paper says, or that its number is not at hand."""
        return " ".join(part for part in (self.paper, "" if self.number_at_hand else NOT_AT_HAND) if part)

    def why(self, budget: str) -> str:
        """Why it did not hold, or in part, at this size; empty where nobody has looked into it."""
        return {"cpu": self.why_cpu, "paper": self.why_paper}[budget]


def claims() -> list[Claim]:
    """All claims, in the order of the page."""
    text = Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8")
    return [_claim(**entry) for entry in yaml.safe_load(text)]


def _claim(judge: str, judged_with: dict[str, Any] | None = None, sweep: str | None = None, **entry: Any) -> Claim:
    if sweep is not None:
        entry["commands"] = [f"src/train.py {sweep} budget={{budget}} hydra.sweep.dir={{out}}"]
    lists = {key: tuple(found) for key, found in entry.items() if isinstance(found, list)}
    function: Callable[..., Finding] = getattr(verdicts, judge)
    return Claim(judge=partial(function, **judged_with) if judged_with else function, **{**entry, **lists})
