"""Write docs/results.md, the claims with what was measured, from docs/results.json.

Measuring a claim replaces its row in docs/results.json. Rows measured on other machines are kept.
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
from metaplast.report.protocol import common_protocol
from metaplast.report.tables import markdown_table
from metaplast.reproduction.claims import Claim
from metaplast.reproduction.judges import task_accuracies
from metaplast.reproduction.verdict import NotComparableError, Verdict
from metaplast.runs.index import find_runs
from metaplast.runs.journal import Journal
from metaplast.runs.names import SUMMARY
from metaplast.runs.summary import RunStatus

SIZES = {"cpu": "CPU size", "paper": "the paper's size"}
IRRELEVANT = ("hydra.", "hydra/", "trainer", "logger", "data_dir=", "resume=", "budget=")
"""Beginnings of settings that change no result; the folder tells the budget."""
HEAD = """\
# Results

Each claim of the paper (Laborieux et al., arXiv 2101.07592 and Nature Communications 12, 2549) and what was measured
here. `python scripts/reproduce.py` writes this page from the runs' files; `python scripts/reproduce.py NAME` measures
one claim (`--list` names them, `--budget paper` takes the paper's own size).

Accuracies are test accuracies in percent, averaged over all tasks after the last one, mean ± standard deviation over
seeds. The tolerances are ours. *n* is the number of seeds. *Margin* is how far the result lies on the claimed side of
the tolerance, in points: the mean over seeds of the paired difference and its 95 % interval (Student's t), for the
criterion with the smallest margin. A claim *held* where the interval of every criterion lies above 0; from six seeds on
an exact sign-flip test has to agree (p ≤ 0.05). With fewer than three seeds there is no verdict, only the direction in
which the numbers point. *Not comparable*: the runs differ in more than what the claim compares, such as epochs.
*Boundary*: whether training was told that a task ended; *label*: whether testing was told which task it is. *Training*:
the training time of all runs of a row, added up; mostly two of them shared a machine.

"""


@dataclass
class Row:
    """What was measured for one claim at one size."""

    verdict: str
    evidence: str
    n: int = 0
    """Number of seeds that the verdict rests on."""
    margin: str = ""
    """The smallest margin with its interval; empty for fewer than three seeds."""
    conditions: str = ""
    """Seeds, normalization, optimizer, boundary, label and training time; empty where nothing was trained on tasks."""
    table: str = ""
    """Markdown; empty where there is no sweep."""
    pictures: list[str] = field(default_factory=list)
    """Paths relative to the page."""
    commit: str | None = None
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Accuracy on each task at the end in percent, by setting and seed; empty in rows recorded before it was kept."""


def is_complete(claim: Claim, folder: Path) -> bool:
    """Whether `folder` holds all results of `claim`; of several commands, also the pictures of the last."""
    if len(claim.commands) > 1 and not all((folder / name).is_file() for name in claim.pictures):
        return False
    if claim.rows is not None:
        return (folder / claim.rows[0]).is_file()
    jobs = Journal(folder).jobs()
    return bool(jobs) and all(job.status is RunStatus.COMPLETED for job in jobs)


def measure(claim: Claim, folders: Mapping[str, Path]) -> Row:
    """Judge `claim` from the folders, by name, of itself and of the claims it needs; all have to be complete.

    Raises:
        UserError: if the files do not hold what the claim is judged by.
    """
    folder = folders[claim.name]
    try:
        if claim.rows is not None:
            numbers = _numbers(folder, *claim.rows)
            return Row(*_judge(claim, numbers), conditions=_conditions_of_numbers(numbers, folder))
        sweep = make_sweep(find_runs([folder]))
        verdict = _judge(claim, sweep, *(make_sweep(find_runs([folders[name]])) for name in claim.needs))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{claim.name}: expected the runs that it is judged by in {folder}, got {type(error).__name__}: {error}; "
            "remove the folder and run the claim again"
        ) from error
    completed = [setting for setting in sweep.settings if setting.completed]
    return Row(
        *verdict,
        conditions=_conditions(sweep) + _other_settings_text(other_settings(claim, folder)),
        table=markdown_table(completed),
        commit=_commit(sweep),
        values={
            setting.label: {str(run.seed): [round(a, 2) for a in task_accuracies(run)] for run in setting.completed}
            for setting in completed
        },
    )


def _judge(claim: Claim, *measured: Any) -> Verdict:
    try:
        return claim.judge(*measured)
    except NotComparableError as reason:
        return Verdict("not comparable", str(reason))


def other_settings(claim: Claim, folder: Path) -> list[str]:
    """The settings of the sweep in `folder` that the claim does not name and that may change a result."""
    claimed = " ".join(claim.commands).split()
    overrides: list[str] = Journal(folder).about().get("overrides", [])
    return [word for word in overrides if word not in claimed and not word.startswith(IRRELEVANT)]


def take_pictures(claim: Claim, folder: Path, budget: str, docs: Path) -> list[str]:
    """Copy the claim's pictures to docs/pictures; return their paths relative to the page."""
    paths = []
    for name in claim.pictures:
        if (folder / name).is_file():
            target = docs / "pictures" / f"{claim.name}_{budget}_{name}"
            with atomic_path(target) as temporary:
                shutil.copyfile(folder / name, temporary)
            paths.append(target.relative_to(docs).as_posix())
    return paths


def read_rows(docs: Path) -> dict[str, dict[str, Row]]:
    """Read docs/results.json: rows by claim and budget; none where the file does not exist.

    Raises UserError for a file of another format.
    """
    path = docs / "results.json"
    if not path.exists():
        return {}
    try:
        recorded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {name: {budget: Row(**row) for budget, row in rows.items()} for name, rows in recorded.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: expected a record of results, got {error}; restore it from the repository") from error


def write_page(docs: Path, claims: Sequence[Claim], rows: Mapping[str, Mapping[str, Row]]) -> Path:
    """Write docs/results.json and docs/results.md, atomically, and return the page."""
    recorded = {name: {budget: asdict(row) for budget, row in by_budget.items()} for name, by_budget in rows.items()}
    write_text(docs / "results.json", json.dumps(recorded, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    write_text(docs / "results.md", page(claims, rows))
    return docs / "results.md"


def page(claims: Sequence[Claim], rows: Mapping[str, Mapping[str, Row]]) -> str:
    """The page as Markdown: a table of verdicts, then a section for each claim."""
    lines = [f"| claim | {' | '.join(SIZES.values())} |", "| --- | --- | --- |"]
    for claim in claims:
        cells = [_cell(claim, budget, rows.get(claim.name, {})) for budget in SIZES]
        statement = claim.statement.replace("|", r"\|")
        lines.append(f"| [{claim.name}](#{claim.name}): {statement} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n" + "".join(_section(claim, rows.get(claim.name, {})) for claim in claims)


def command_line(claim: Claim, budget: str) -> str:
    """The commands of a claim as typed by hand; a single one is given without the folder of its results.

    >>> from metaplast.reproduction.claims import claims
    >>> command_line(claims()[0], "cpu")
    "python src/train.py experiment=fig2 'seed=range(0,5)'"
    """
    lines, alone = [], len(claim.commands) == 1
    for command in claim.commands:
        words = [word for word in command.split() if not (alone and word.startswith("hydra.sweep.dir="))]
        words = [word.format(budget=budget, out=f"outputs/{claim.name}") for word in words]
        words = [f"'{word}'" if set(word) & set("()[]") else word for word in words if word != "budget=cpu"]
        lines.append(" ".join(["python", *words]))
    return " && ".join(lines)


def _cell(claim: Claim, budget: str, rows: Mapping[str, Row]) -> str:
    if budget not in claim.budgets:
        return "the same"
    if budget not in rows:
        return f"needs the {claim.files} files" if claim.files else "not run yet"
    row = rows[budget]
    return " · ".join(
        [f"**{row.verdict}**"] + [f"n = {row.n}"] * (row.n > 0) + [f"margin {row.margin}"] * bool(row.margin)
    )


def _section(claim: Claim, rows: Mapping[str, Row]) -> str:
    lines = ["", f"## {claim.name}", "", claim.statement, "", *_about(claim), *_sizes(claim, rows)]
    return "\n".join(lines) + "\n"


def _about(claim: Claim) -> Iterator[str]:
    yield f"- The paper says: {claim.paper_says}"
    yield f"- Tolerance: {claim.tolerance}."
    if claim.note:
        yield f"- {claim.note}"


def _sizes(claim: Claim, rows: Mapping[str, Row]) -> Iterator[str]:
    for budget in claim.budgets:
        size = SIZES["paper" if claim.one_size else budget]
        command = f"`{command_line(claim, budget)}`"
        yield f"- At {size}, {command}: {_measured(claim, budget, rows.get(budget))}"
    for budget in claim.budgets:
        row = rows.get(budget)
        if row is not None and (row.table or row.pictures):
            yield from ["", *([] if claim.one_size else [f"At {SIZES[budget]}:", ""])]
            yield from [row.table] if row.table else []
            yield from (f"![{claim.statement}]({picture})" for picture in row.pictures)


def _measured(claim: Claim, budget: str, row: Row | None) -> str:
    if row is None:
        status = f"not run, for lack of the {claim.files} files" if claim.files else "not run yet"
        return f"{status}: `python scripts/reproduce.py {claim.name}{'' if budget == 'cpu' else ' --budget paper'}`"
    as_claimed = row.verdict == "held" or row.verdict.endswith(": points this way")
    why = f"Why: {claim.why(budget)}" if claim.why(budget) and not as_claimed else ""
    return " ".join(part for part in (f"**{row.verdict}**: {row.evidence}.", why, row.conditions) if part)


def _numbers(folder: Path, file: str, key: str = "") -> list[dict[str, Any]]:
    """What a script wrote: the list under `key` of a JSON file, or the rows of a CSV file as strings."""
    text = (folder / file).read_text(encoding="utf-8")
    if file.endswith(".csv"):
        return list(csv.DictReader(text.splitlines()))
    numbers: list[dict[str, Any]] = json.loads(text)[key]
    return numbers


def _conditions(sweep: Sweep) -> str:
    """Number of seeds, normalization, optimizer, boundary, label and training time of the completed runs."""
    completed = [run.summary for run in sweep.runs if run.completed]
    told = common_protocol(completed)
    seeds = " or ".join(dict.fromkeys(setting.seeds for setting in sweep.settings))
    minutes = sum(summary.get("train_seconds") or 0 for summary in completed) / 60
    return (
        f"(Seeds: {seeds}; normalization: {told.normalization}; optimizer: {told.optimizer}; "
        f"boundary: {told.boundary}; label: {told.label}; "
        f"training: {minutes:.0f} min over {len(completed)} {'run' if len(completed) == 1 else 'runs'}.)"
    )


def _conditions_of_numbers(numbers: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """The conditions of the runs that a script analyzed, if any; else the seeds in its numbers."""
    if any(folder.rglob(SUMMARY)):
        return _conditions(make_sweep(find_runs([folder])))
    seeds = [str(row["seed"]) for row in numbers if "seed" in row]
    return f"(Seeds: {', '.join(seeds)}; no network is trained.)" if seeds else ""


def _other_settings_text(settings: Sequence[str]) -> str:
    return f" Run with settings other than the claim's: `{' '.join(settings)}`." if settings else ""


def _commit(sweep: Sweep) -> str | None:
    commits = {(run.summary.get("versions") or {}).get("commit") for run in sweep.runs if run.completed}
    return " / ".join(sorted(commit for commit in commits if commit)) or None
