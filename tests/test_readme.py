"""What README and docs tell people to type works as printed; what they link to exists. Python examples are doctests.

Every command is checked to compose or to be understood; those that take seconds are run as well.
"""

import importlib
import importlib.util
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from metaplast.__main__ import names

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "outputs" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
}  # fmt: skip
EXTENDING = PAGES["docs/extending.md"]
TRAIN = ["python", "src/train.py"]
QUICK = ["scenario.n_tasks=2", "epochs_per_task=1", "logger=none", "trainer.threads=1", "hydra.run.dir=run"]
KNOWN = (
    r"source \.venv/bin/activate",
    r"pre-commit install",
    r"pip install pre-commit",
    r"pip (install|wheel)( --no-deps)? \.",
    r"wandb (login|agent TEAM/metaplast/SWEEP_ID)",
)
"""Commands of other programs, which cannot be tried here."""


def without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def commands_in(text: str) -> Iterator[str]:
    """All commands of a page: the lines of its bash blocks, and what stands in code font and starts like one."""
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True))
    spans = re.findall(r"`([^`\n]+)`", without_fences(text))
    yield from (span for span in spans if re.match(r"(metaplast|python|make|pip|PYTHONPATH=\.) ", span))
    yield from commands_of_tables(text)


def commands_of_tables(text: str) -> Iterator[str]:
    """The commands of tables headed "`python src/train.py …` and": each row adds settings, a bold one to all below."""
    base, block = "", ""
    for line in without_fences(text).splitlines():
        if not line.startswith("|"):
            base = block = ""
            continue
        first = re.split(r"(?<!\\)\|", line)[1].strip()
        if heading := re.fullmatch(r"`(python src/train\.py [^`]*)` and", first):
            base = heading[1]
        elif base and (codes := re.findall(r"`([^`]+)`", first)):
            if first.startswith("**"):
                [block] = codes
                if not first.endswith("and"):
                    yield f"{base} {block}"
            else:
                yield f"{base} {block} {codes[0]}"


def words_of(command: str) -> list[list[str]]:
    """The arguments of a command line, one list for each command of an `&&` chain, without variables set before it."""
    chain: list[list[str]] = [[]]
    for word in shlex.split(command, comments=True):
        if word == "&&":
            chain.append([])
        elif chain[-1] or not re.match(r"[A-Z_]+=", word):
            chain[-1].append(word)
    return chain


COMMANDS = sorted(
    {shlex.join(words) for text in PAGES.values() for line in commands_in(text) for words in words_of(line)}
)
EXAMPLES = [command for command in COMMANDS if re.search("=(cautious|negatives|narrow)", command)]
"""The commands that need the files of docs/extending.md."""


def first_value(override: Override) -> str:
    """An override with the first of the values that it sweeps."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return f"{override.get_key_element()}={value.start}"
    if override.is_sweep_override():
        return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
    return override.input_line or ""


def check_composes(arguments: list[str]) -> None:
    """Compose and check what src/train.py would run, with the first value of everything that is swept."""
    import metaplast.config.overrides  # noqa: F401  (registers what a configuration may interpolate)
    from metaplast.config.validate import check

    flags = [a for a in arguments if a.startswith("-")]
    assert set(flags) <= {"-m", "--help", "--cfg"}
    overrides = OverridesParser.create().parse_overrides([a for a in arguments if a not in flags])
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [first_value(override) for override in overrides], return_hydra_config=True)
        params = config.hydra.sweeper.get("params") or {}  # an experiment may sweep by itself
        given = {override.get_key_element() for override in overrides}
        swept = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in params.items() if k not in given])
        check(compose("train", [first_value(override) for override in [*swept, *overrides]]))


def check_command(name: str, arguments: list[str]) -> None:
    module = importlib.import_module(f"metaplast.cli.commands.{name.replace('-', '_')}")
    module.parse(arguments)  # a SystemExit fails the test


def check_script(script: str, arguments: list[str]) -> None:
    if Path(script).stem in names():
        check_command(Path(script).stem, arguments)
        return
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "parse"):
        module.parse(arguments)  # a SystemExit fails the test
    else:
        assert not arguments, f"{script} takes no arguments"


def run(arguments: list[str], cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def summary(run_dir: Path) -> dict[str, Any]:
    contents = json.loads((run_dir / "summary.json").read_text("utf-8"))
    assert isinstance(contents, dict)
    return contents


def example_files() -> dict[str, str]:
    """The files that docs/extending.md prints whole: those whose first line is a comment with their path."""
    blocks = re.findall(r"```(?:yaml|python)\n(# (\S+\.(?:yaml|py))\n.*?)```", EXTENDING, flags=re.DOTALL)
    return {path: text for text, path in blocks}


def test_the_pages_show_the_users_command_and_the_files_of_the_examples() -> None:
    assert "python src/train.py strategy=meta m=1.3 scenario=pmnist" in COMMANDS
    assert "python src/train.py experiment=look" in COMMANDS
    assert len(EXAMPLES) == 2
    assert len(COMMANDS) > 80
    assert set(example_files()) == {
        "conf/strategy/cautious.yaml",
        "conf/scenario/negatives.yaml",
        "conf/model/narrow.yaml",
        "my_lab.py",
        "my_models.py",
    }


def test_the_commands_of_a_table_are_put_together() -> None:
    head = "| `python src/train.py -m` and | n |\n|---|---|\n"
    table = head + "| **A**: `seed=0` and | |\n| `m=1` | 1 |\n| **B**: `m=2` | |\n"
    assert list(commands_of_tables(table)) == ["python src/train.py -m seed=0 m=1", "python src/train.py -m m=2"]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in EXAMPLES])
def test_every_command_is_understood(command: str) -> None:
    match shlex.split(command):
        case ["python", "src/train.py", *arguments]:
            check_composes(arguments)
        case ["python", "-m", "metaplast"]:
            assert names()
        case ["metaplast", name]:
            assert name.replace("-", "_") in (*names(), "__help")
        case ["metaplast", "train", *arguments]:
            check_composes(arguments)
        case ["metaplast", name, *arguments]:
            check_command(name, arguments)
        case ["python", script, *arguments]:
            check_script(script, arguments)
        case ["make", target]:
            assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        case [".venv/bin/python", "-m", "pytest", *arguments]:
            assert all((ROOT / argument).exists() for argument in arguments if argument.startswith("tests"))
        case ["pip", "install", "-e", target]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
            assert target.removeprefix(".[").removesuffix("]") in extras
        case ["wandb", "sweep", *_, path]:
            assert (ROOT / path).is_file()
        case _:
            assert any(re.fullmatch(known, command) for known in KNOWN), "a command that no test knows"


def test_the_first_command_trains_and_the_table_is_shown(tmp_path: Path) -> None:
    command = "python src/train.py strategy=meta m=1.3 scenario=pmnist"
    assert command in COMMANDS
    digits = ["scenario=pdigits", "model.hidden=[16]"]
    done = run([str(ROOT / "src" / "train.py"), *shlex.split(command)[2:], *digits, *QUICK], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "average accuracy" in done.stdout
    assert (summary(tmp_path / "run")["status"], summary(tmp_path / "run")["m"]) == ("completed", 1.3)


def test_the_experiment_to_look_at_trains_too(answer: Callable[..., Any], workplace: Path) -> None:
    from metaplast.cli.run import run as train

    assert "python src/train.py experiment=look" in COMMANDS
    done = answer("experiment=look", "scenario=pdigits", "model.hidden=[16]", *QUICK, task=train)
    assert done.status == 0, done.err
    assert "average accuracy" in done.out
    assert (summary(workplace / "run")["status"], summary(workplace / "run")["m"]) == ("completed", 7.0)


def test_the_sweep_of_the_readme_ends_in_a_report(tmp_path: Path) -> None:
    sweep = "python src/train.py -m experiment=look m=0,2,7 seed=0,1,2"
    assert sweep in COMMANDS
    quick = ["seed=0", "model.hidden=[16]", "hydra.sweep.dir=sweep", *QUICK[:-1]]  # the later seed counts
    done = run([str(ROOT / "src" / "train.py"), *shlex.split(sweep)[2:-1], *quick], tmp_path)
    assert done.returncode == 0, done.stderr
    assert {summary(tmp_path / "sweep" / str(job))["m"] for job in range(3)} == {0.0, 2.0, 7.0}
    assert (tmp_path / "sweep" / "sweep.html").is_file()


@pytest.mark.parametrize("command", EXAMPLES)
def test_a_strategy_a_scenario_and_a_model_are_added_as_the_page_says(
    command: str, answer: Callable[..., Any], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaplast.cli.run import run as train

    for path, text in example_files().items():
        (workplace / path).parent.mkdir(parents=True, exist_ok=True)
        (workplace / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(workplace)
    for module in ("my_lab", "my_models"):  # of the example before
        monkeypatch.delitem(sys.modules, module, raising=False)
    arguments = shlex.split(command)[2:]
    done = answer("--config-dir", "conf", *arguments, *QUICK, "trainer.compile=false", task=train)
    assert done.status == 0, done.err
    for choice in arguments:
        group, _, name = choice.partition("=")
        if group in ("strategy", "scenario", "model"):
            assert summary(workplace / "run")[group] == name
    assert summary(workplace / "run")["task_label_used"]


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_fences(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_fences(PAGES[page])):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        to = (ROOT / page).parent / path if path else ROOT / page
        assert to.exists(), f"{page}: {target}"
        assert not anchor or anchor in slugs(to.read_text("utf-8")), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_what_the_pages_install_can_be_found(page: str) -> None:
    assert "pip install 'metaplast" not in PAGES[page], "the name is on no index"


def test_the_readme_is_short_and_each_page_of_docs_opens_with_the_readers_task() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 160
    for page in PAGES:
        made = page in ("docs/results.md", "docs/plugins.md", "docs/settings.md")  # by commands
        if page.startswith("docs/") and not made:
            assert re.match(r"# .+\n\nYou want to ", PAGES[page]), page


def files_named(text: str) -> list[str]:
    """Files and folders in code font, as docs/architecture.md names them; NAME stands for any."""
    spans = re.findall(r"`([\w./-]+)`", without_fences(text))
    return [span for span in spans if re.search(r"/$|\.(py|yaml|toml)$", span) and "NAME" not in span]


def test_every_file_that_the_architecture_names_exists() -> None:
    named = files_named(PAGES["docs/architecture.md"])
    assert len(named) > 60
    for file in named:
        assert (ROOT / file).exists() or (ROOT / "src" / "metaplast" / file).exists(), file


def test_each_walk_of_the_architecture_counts_its_files() -> None:
    walks = re.findall(
        r"^## [^\n]+\((\d+) files\)\n(.*?)(?=^## )", PAGES["docs/architecture.md"], re.DOTALL | re.MULTILINE
    )
    assert len(walks) == 4
    for count, walk in walks:
        items = re.findall(r"^\d+\. (.*)$", walk, flags=re.MULTILINE)
        files = {file for item in items for file in re.findall(r"`([\w./]+\.(?:py|html))`", item)}
        assert len(items) == len(files) == int(count)


def test_the_architecture_shows_the_layers_that_the_import_contract_enforces() -> None:
    [contract] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][:1]
    layers = [re.findall(r"metaplast\.(\w+)", layer) for layer in contract["layers"]]
    [drawing] = re.findall(r"```text\n(.*?)```", PAGES["docs/architecture.md"], flags=re.DOTALL)
    drawn = re.findall(r"(?<=│ )(\w+)(?=  )|\b(io), (system), (private_api)\b", drawing)
    assert [name for match in drawn for name in match if name] == [name for layer in layers for name in layer]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("docs/results.md", "CHANGELOG.md")])
def test_the_modules_that_the_pages_name_exist(page: str) -> None:
    for path in re.findall(r"\bsrc/metaplast/[\w/.]*\w", PAGES[page]):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`metaplast\.([a-z_.]+[a-z_])`", PAGES[page]):
        pkgutil.resolve_name(f"metaplast.{name}")


def test_the_hooks_of_pre_commit_are_the_checks_of_make() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    [recipe] = re.findall(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    made = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert [hook["entry"] for hook in hooks] == made


def test_the_files_of_github_and_the_citation_are_whole() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    assert {"run": "make test"} in workflow["jobs"]["test"]["steps"]
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text("utf-8"))
        assert {"name", "description", "body"} <= form.keys(), path
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", version)
    assert f"\n## {version}\n" in PAGES["CHANGELOG.md"]
