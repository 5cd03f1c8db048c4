"""The claims of the paper and of its outlook, read from claims.yaml: what is claimed, how to run and judge it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from metaplast.reproduction import judges
from metaplast.reproduction.verdict import Verdict

NOT_AVAILABLE = "The paper's own numbers are not available: its full text could not be read."


@dataclass(frozen=True)
class Claim:
    """A row of docs/results.md. The keys of claims.yaml are these attributes, and `sweep` and `judge_args`."""

    name: str
    """The argument of scripts/reproduce.py that runs it, and the folder of its results."""
    statement: str
    """The claim, in a sentence."""
    commands: tuple[str, ...]
    """What to run, in this order, as arguments of Python; `{out}` is the results folder, `{budget}` cpu or paper.

    In the file, `sweep: experiment=NAME …` stands for one run of src/train.py at both sizes.
    """
    judge: Callable[..., Verdict]
    """Takes the sweep in the folder and those of `needs` or, with `rows`, a list of dictionaries.

    In the file: the name of a function in `metaplast.reproduction.judges`; `judge_args` holds its further arguments.
    """
    tolerance: str
    """How far from the claim a result may lie and still count; ours."""
    paper: str = ""
    """What the paper says, as far as it could be read."""
    paper_number_known: bool = False
    """Whether `paper` holds the number to compare with."""
    needs: tuple[str, ...] = ()
    """Other claims whose runs are compared with these."""
    rows: tuple[str, ...] | None = None
    """Where a script writes its numbers: a JSON file in the folder and the key of the list in it, or a CSV file."""
    pictures: tuple[str, ...] = ()
    """Files of the folder to show."""
    files: str = ""
    """The data set whose files have to be provided before it can be run; empty if they come with a package."""
    note: str = ""
    """What else a reader has to know."""
    one_size: bool = False
    """Whether the CPU size is the paper's own."""
    why_cpu: str = ""
    """Why it did not hold, or in part, at CPU size: written by hand after an analysis."""
    why_paper: str = ""
    """The same at the paper's size."""

    @property
    def budgets(self) -> tuple[str, ...]:
        """The sizes at which it can be run."""
        return ("cpu",) if self.one_size else ("cpu", "paper")

    @property
    def paper_says(self) -> str:
        """What the paper says, or that its number is not available."""
        return " ".join(part for part in (self.paper, "" if self.paper_number_known else NOT_AVAILABLE) if part)

    def why(self, budget: str) -> str:
        """Why it did not hold, or in part, at this size; empty where that was not analyzed."""
        return {"cpu": self.why_cpu, "paper": self.why_paper}[budget]


def claims() -> list[Claim]:
    """All claims, in the order of the page."""
    text = Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8")
    return [_claim(**entry) for entry in yaml.safe_load(text)]


def _claim(judge: str, judge_args: dict[str, Any] | None = None, sweep: str | None = None, **entry: Any) -> Claim:
    if sweep is not None:
        entry["commands"] = [f"src/train.py {sweep} budget={{budget}} hydra.sweep.dir={{out}}"]
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    function: Callable[..., Verdict] = getattr(judges, judge)
    return Claim(judge=partial(function, **judge_args) if judge_args else function, **{**entry, **lists})
