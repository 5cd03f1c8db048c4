"""Run what each claim of the paper needs, and write results.md from the results.

    metaplast reproduce --list                    # the claims, and which of them have been run here
    metaplast reproduce fig2 table1               # two of them, at CPU size (ten minutes per seed)
    metaplast reproduce --budget paper fig2       # at the paper's own size, for a GPU
    metaplast reproduce --write-only              # run nothing, write the page from the results that exist

Results go to outputs/reproduce/BUDGET/NAME. Complete claims are not run again; interrupted ones are resumed.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from metaplast.cli.script import OneLineParser, script
from metaplast.errors import UserError
from metaplast.io import check_target

DOCS = Path("docs")
"""Where the page and the results recorded so far are in a clone of the repository."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="claims to run (default: all)")
    add("--budget", choices=("cpu", "paper"), default="cpu", help="minutes on two cores, or the paper's own size")
    add("--list", action="store_true", help="list the claims and which of them are complete; run nothing")
    add("--write-only", action="store_true", help="run nothing; write the page from the results that exist")
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="further settings of metaplast train, such as data_dir=/data",
    )
    add(
        "--outputs",
        type=Path,
        default=Path("outputs/reproduce"),
        metavar="DIR",
        help="folder of the results (default outputs/reproduce)",
    )
    add(
        "--docs", type=Path, metavar="DIR", help="folder of the page (default: docs in a clone, else that of --outputs)"
    )
    arguments = parser.parse_args(argv)
    if arguments.docs is None:
        arguments.docs = DOCS if (DOCS / "results.json").is_file() else arguments.outputs
    return arguments


@script
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 if a claim failed or its results cannot be read, or 2 for an invalid argument."""
    return reproduce(parse(argv))


def reproduce(arguments: argparse.Namespace) -> int:
    """List, run or only judge the claims, as the arguments say; return the exit status."""
    from metaplast.reproduction.claims import claims
    from metaplast.reproduction.page import is_complete

    known = {claim.name: claim for claim in claims()}
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        raise UserError(f"NAME={unknown[0]}: expected one of {', '.join(known)}")
    chosen = [known[name] for name in arguments.names or known]
    if arguments.list:
        for claim in chosen:
            done = [b for b in claim.budgets if is_complete(claim, arguments.outputs / b / claim.name)]
            print(f"{claim.name:16} {claim.statement} [{', '.join(done) or 'not run here'}]")
        return 0
    check_target("--docs", arguments.docs / "results.md")  # before hours of work
    failed = []
    for claim in [] if arguments.write_only else chosen:
        budget = arguments.budget if arguments.budget in claim.budgets else "cpu"
        folder = arguments.outputs / budget / claim.name
        if is_complete(claim, folder):
            print(f"{claim.name}: complete in {folder}")
            continue
        try:
            succeeded = run(claim.commands, folder, budget, arguments.set)
        except UserError as refused:  # concerns this claim's folder only
            print(f"error: {refused}", file=sys.stderr)
            succeeded = False
        if not succeeded:
            failed.append(claim.name)
        write(arguments.outputs, arguments.docs)  # after each, since the next may take hours
    page, unread = write(arguments.outputs, arguments.docs)
    print(page)
    for error in unread.values():
        print(f"error: {error}", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}; the same command resumes them", file=sys.stderr)
    return 1 if failed or any(claim.name in unread for claim in chosen) else 0


def run(commands: Sequence[str], folder: Path, budget: str, more: Sequence[str]) -> bool:
    """Run the commands of a claim one after the other; return whether all of them succeeded."""
    for command in commands:
        words = [word.format(out=folder, budget=budget) for word in command.split()]
        if words[0] == "src/train.py":
            words = resume_words([*words, "logger=none", *more])
        if not words:
            continue
        words[0] = Path(words[0]).stem.replace("_", "-")
        print(f"metaplast {' '.join(words)}", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if subprocess.run([sys.executable, "-m", "metaplast", *words], check=False).returncode != 0:
            return False
    return True


def resume_words(words: list[str]) -> list[str]:
    """Return the words of a training command that resumes from the existing results; none if it is complete.

    A sweep is resumed by `resume=true`, a single run by its directory. Raises UserError for a directory that has files
    but nothing to resume from.
    """
    from metaplast.runs.directory import has_checkpoint
    from metaplast.runs.index import read_run
    from metaplast.runs.names import SWEEP

    for word in words:
        key, _, directory = word.partition("=")
        if key == "hydra.sweep.dir" and (Path(directory) / SWEEP).exists():
            return [*words, "resume=true"]
        if key == "hydra.run.dir" and has_checkpoint(Path(directory)):
            return [] if read_run(Path(directory)).completed else [words[0], f"resume={directory}"]
        if key in ("hydra.sweep.dir", "hydra.run.dir") and Path(directory).is_dir() and any(Path(directory).iterdir()):
            raise UserError(
                f"{directory}: expected a run to resume or an empty folder, got other files; move them away"
            )
    return words


def write(outputs: Path, docs: Path) -> tuple[Path, dict[str, UserError]]:
    """Judge every claim that is complete below `outputs`, and write the page together with the recorded rows.

    Returns the page and, by claim, why a complete one cannot be judged: its files lack what the judge needs, or a claim
    that it is compared with is missing.
    """
    from metaplast.reproduction.claims import claims
    from metaplast.reproduction.page import is_complete, measure, read_rows, take_pictures, write_page

    rows, known = read_rows(docs), {claim.name: claim for claim in claims()}
    unread: dict[str, UserError] = {}
    for claim in known.values():
        for budget in claim.budgets:
            folders = {name: outputs / budget / name for name in (claim.name, *claim.needs)}
            missing = [name for name, folder in folders.items() if not is_complete(known[name], folder)]
            if missing:
                if claim.name not in missing and budget not in rows.get(claim.name, {}):
                    reason = f"{claim.name}: expected the complete claim {missing[0]} to compare with, got none"
                    unread[claim.name] = UserError(reason)
                continue
            try:
                row = measure(claim, folders)
            except UserError as error:
                unread[claim.name] = error
                continue
            row.pictures = take_pictures(claim, folders[claim.name], budget, docs)
            rows.setdefault(claim.name, {})[budget] = row
    return write_page(docs, list(known.values()), rows), unread
