"""docs/results.md: the claims with what was measured, and docs/results.json, what it is written from.

A run on one machine renews its own rows; those of other machines stay as they were recorded.
"""

import csv
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metaplast.errors import UserError
from metaplast.io import atomic_path, write_text
from metaplast.report.aggregate import Sweep, make_sweep
from metaplast.report.protocol import common
from metaplast.report.tables import markdown_table
from metaplast.reproduction.claims import Claim
from metaplast.reproduction.judges import Finding
from metaplast.runs.index import find_runs
from metaplast.runs.journal import Journal
from metaplast.runs.paths import SUMMARY
from metaplast.runs.status import RunStatus

SIZES = {"cpu": "CPU size", "paper": "the paper's size"}
NO_MATTER = ("hydra.", "hydra/", "trainer", "logger", "data_dir=", "resume=", "budget=")
"""How settings begin on which no result hangs; the budget is told by the folder."""
HEAD = """\
# Results

Each claim of the paper (Laborieux et al., arXiv 2101.07592 and Nature Communications 12, 2549), and what came of it
here. This page is written by `python scripts/reproduce.py`, from the files that the runs left: all of it, or
`python scripts/reproduce.py NAME` for one row (`--list` names them, `--budget paper` takes the paper's own size).
Accuracies are test accuracies in percent, averaged over all tasks after the last one, mean ± standard deviation over
seeds. *Boundary*: whether training was told that a task ended; *label*: whether testing was told which task it is.
*Training*: the time that all runs of a row spent training, added up, on whatever machine they ran, mostly two at once.
Tolerances are ours.

"""


@dataclass
class Row:
    """What was measured for one claim at one size."""

    verdict: str
    found: str
    conditions: str = ""
    """Seeds, normalization, optimizer, boundary, label and training time; empty where nothing was trained on tasks."""
    table: str = ""
    """Markdown; empty where there is no sweep."""
    pictures: list[str] = field(default_factory=list)
    """Paths, seen from the page."""
    commit: str | None = None


def is_complete(claim: Claim, folder: Path) -> bool:
    """Whether all that `claim` asks for lies in `folder`; of several commands, that the last has drawn its pictures."""
    if len(claim.commands) > 1 and not all((folder / name).is_file() for name in claim.pictures):
        return False
    if claim.rows is not None:
        return (folder / claim.rows[0]).is_file()
    jobs = Journal(folder).jobs()
    return bool(jobs) and all(job.status is RunStatus.COMPLETED for job in jobs)


def measure(claim: Claim, folders: Mapping[str, Path]) -> Row:
    """Judge `claim` from the folders, by name, of itself and of the claims it needs; all are complete.

    Raises:
        UserError: if the files do not hold what the claim is judged by.
    """
    folder = folders[claim.name]
    try:
        if claim.rows is not None:
            numbers = _numbers(folder, *claim.rows)
            return Row(*claim.judge(numbers), conditions=_conditions_of_numbers(numbers, folder))
        sweep = make_sweep(find_runs([folder]))
        finding: Finding = claim.judge(sweep, *(make_sweep(find_runs([folders[name]])) for name in claim.needs))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{claim.name}: {folder} does not hold the runs that it is judged by ({type(error).__name__}: {error}); "
            "remove the folder and run it again"
        ) from error
    return Row(
        *finding,
        conditions=_conditions(sweep) + _besides(other_settings(claim, folder)),
        table=markdown_table([setting for setting in sweep.settings if setting.completed]),
        commit=_commit(sweep),
    )


def other_settings(claim: Claim, folder: Path) -> list[str]:
    """What the sweep in `folder` was given besides the claim's own settings, as far as a result hangs on it."""
    claimed = " ".join(claim.commands).split()
    given: list[str] = Journal(folder).about().get("overrides", [])
    return [word for word in given if word not in claimed and not word.startswith(NO_MATTER)]


def take_pictures(claim: Claim, folder: Path, budget: str, docs: Path) -> list[str]:
    """Copy the claim's pictures to docs/pictures; return their paths as seen from the page."""
    paths = []
    for name in claim.pictures:
        if (folder / name).is_file():
            target = docs / "pictures" / f"{claim.name}_{budget}_{name}"
            with atomic_path(target) as temporary:
                shutil.copyfile(folder / name, temporary)
            paths.append(target.relative_to(docs).as_posix())
    return paths


def read_rows(docs: Path) -> dict[str, dict[str, Row]]:
    """What is recorded so far, by claim and budget; nothing where docs/results.json is not there.

    Raises UserError for a file that is not one of ours.
    """
    path = docs / "results.json"
    if not path.exists():
        return {}
    try:
        recorded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {name: {budget: Row(**row) for budget, row in rows.items()} for name, rows in recorded.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no record of results ({error}); put the one of the repository back") from error


def write_page(docs: Path, claims: Sequence[Claim], rows: Mapping[str, Mapping[str, Row]]) -> Path:
    """Write docs/results.json and docs/results.md, atomically, and return the page."""
    recorded = {name: {budget: asdict(row) for budget, row in found.items()} for name, found in rows.items()}
    write_text(docs / "results.json", json.dumps(recorded, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    write_text(docs / "results.md", page(claims, rows))
    return docs / "results.md"


def page(claims: Sequence[Claim], rows: Mapping[str, Mapping[str, Row]]) -> str:
    """The page as Markdown: a table of verdicts, then a section for each claim."""
    lines = [f"| claim | {' | '.join(SIZES.values())} |", "| --- | --- | --- |"]
    for claim in claims:
        found = rows.get(claim.name, {})
        cells = [_cell(claim, budget, found) for budget in SIZES]
        lines.append(f"| [{claim.name}](#{claim.name}): {claim.says} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n" + "".join(_section(claim, rows.get(claim.name, {})) for claim in claims)


def command_line(claim: Claim, budget: str) -> str:
    """The commands of a claim as one would type them by hand; where a single one leaves its results is not said.

    >>> from metaplast.reproduction.claims import claims
    >>> command_line(claims()[0], "cpu")
    "python src/train.py experiment=fig2 'seed=range(0,5)'"
    """
    said, alone = [], len(claim.commands) == 1
    for command in claim.commands:
        words = [word for word in command.split() if not (alone and word.startswith("hydra.sweep.dir="))]
        words = [word.format(budget=budget, out=f"outputs/{claim.name}") for word in words]
        words = [f"'{word}'" if set(word) & set("()[]") else word for word in words if word != "budget=cpu"]
        said.append(" ".join(["python", *words]))
    return " && ".join(said)


def _cell(claim: Claim, budget: str, found: Mapping[str, Row]) -> str:
    if budget not in claim.budgets:
        return "the same"
    return f"**{found[budget].verdict}**" if budget in found else "not run yet"


def _section(claim: Claim, found: Mapping[str, Row]) -> str:
    return "\n".join(["", f"## {claim.name}", "", f"{claim.says}", "", *_about(claim), *_sizes(claim, found)]) + "\n"


def _about(claim: Claim) -> Iterator[str]:
    yield f"- The paper says: {claim.paper_says}"
    yield f"- Tolerance: {claim.tolerance}."
    if claim.note:
        yield f"- {claim.note}"


def _sizes(claim: Claim, found: Mapping[str, Row]) -> Iterator[str]:
    for budget in claim.budgets:
        size = SIZES["paper" if claim.one_size else budget]
        command = f"`{command_line(claim, budget)}`"
        yield f"- At {size}, {command}: {_said(claim, budget, found.get(budget))}"
    for budget in claim.budgets:
        row = found.get(budget)
        if row is not None and (row.table or row.pictures):
            yield from ["", *([] if claim.one_size else [f"At {SIZES[budget]}:", ""])]
            yield from [row.table] if row.table else []
            yield from (f"![{claim.says}]({picture})" for picture in row.pictures)


def _said(claim: Claim, budget: str, row: Row | None) -> str:
    if row is None:
        return f"not run yet: `python scripts/reproduce.py {claim.name}{'' if budget == 'cpu' else ' --budget paper'}`"
    why = f"Why: {claim.why(budget)}" if claim.why(budget) and row.verdict != "held" else ""
    return " ".join(part for part in (f"**{row.verdict}**: {row.found}.", why, row.conditions) if part)


def _numbers(folder: Path, file: str, key: str = "") -> list[dict[str, Any]]:
    """What a script left: the list under `key` of a JSON file, or the rows of a CSV file, as texts."""
    text = (folder / file).read_text(encoding="utf-8")
    if file.endswith(".csv"):
        return list(csv.DictReader(text.splitlines()))
    numbers: list[dict[str, Any]] = json.loads(text)[key]
    return numbers


def _conditions(sweep: Sweep) -> str:
    """Normalization, boundary and label of the completed runs, how many seeds there were, how long they trained."""
    completed = [run.summary for run in sweep.runs if run.completed]
    told = common(completed)
    seeds = " or ".join(dict.fromkeys(setting.seeds for setting in sweep.settings))
    minutes = sum(summary.get("train_seconds") or 0 for summary in completed) / 60
    return (
        f"(Seeds: {seeds}; normalization: {told.normalization}; optimizer: {told.optimizer}; "
        f"boundary: {told.boundary}; label: {told.label}; "
        f"training: {minutes:.0f} min over {len(completed)} {'run' if len(completed) == 1 else 'runs'}.)"
    )


def _conditions_of_numbers(numbers: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """The same of the runs that a script took its numbers from, if any; else the seeds that it names itself."""
    if any(folder.rglob(SUMMARY)):
        return _conditions(make_sweep(find_runs([folder])))
    seeds = [str(row["seed"]) for row in numbers if "seed" in row]
    return f"(Seeds: {', '.join(seeds)}; no network is trained.)" if seeds else ""


def _besides(settings: Sequence[str]) -> str:
    return f" Run with other settings than the claim's: `{' '.join(settings)}`." if settings else ""


def _commit(sweep: Sweep) -> str | None:
    commits = {(run.summary.get("versions") or {}).get("commit") for run in sweep.runs if run.completed}
    return " / ".join(sorted(commit for commit in commits if commit)) or None
