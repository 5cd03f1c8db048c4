"""docs/results.md from runs made by hand: the verdict, what was measured, the pictures; and what is not run yet."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from metaplast.errors import UserError
from metaplast.report.aggregate import Sweep
from metaplast.reproduction.claims import Claim, claims
from metaplast.reproduction.page import (
    command_line,
    is_complete,
    measure,
    other_settings,
    page,
    read_rows,
    take_pictures,
    write_page,
)
from metaplast.runs.journal import Job, Journal
from metaplast.runs.summary import RunStatus

Make = Callable[..., Sweep]


@pytest.fixture
def known() -> dict[str, Claim]:
    return {claim.name: claim for claim in claims()}


def test_a_page_without_runs_says_how_to_run_each(known: dict[str, Claim]) -> None:
    written = page(list(known.values()), {})
    for claim in known.values():
        assert f"## {claim.name}\n" in written
        for budget in claim.budgets:
            status = f"not run, for lack of the {claim.files} files" if claim.files else "not run yet"
            said = f"{status}: `python scripts/reproduce.py {claim.name}{' --budget paper' * (budget == 'paper')}`"
            assert said in written
    assert "**held**" not in written


def test_a_row_says_verdict_numbers_and_conditions(tmp_path: Path, sweep: Make, known: dict[str, Claim]) -> None:
    sweep(*[([accuracy + seed], {"m": m, "seed": seed}) for m, accuracy in ((0, 50), (1, 60)) for seed in (0, 1, 2)])
    claim, folder = known["fig2"], tmp_path / "sweep"
    (folder / "tasks_by_m.png").write_bytes(b"picture")
    assert is_complete(claim, folder)
    row = measure(claim, {"fig2": folder})
    row.pictures = take_pictures(claim, folder, "cpu", tmp_path / "docs")
    write_page(tmp_path / "docs", list(known.values()), {"fig2": {"cpu": row}})
    written = (tmp_path / "docs" / "results.md").read_text("utf-8")
    assert "**held**: the best m > 0 is 1, +10.0 points against m = 0 (margin +10.0 [+10.0, +10.0])" in written
    assert "| **held** · n = 3 · margin +10.0 [+10.0, +10.0] |" in written
    conditions = "normalization: batch, per task, γ uniform, batch; optimizer: kept; boundary: yes; label: yes"
    assert f"(Seeds: 3; {conditions}; training: 0 min over 6 runs.)" in written
    assert "| m = 1 | 61.0 ± 1.0 | 61.0 ± 1.0 | 3 |" in written
    assert "(pictures/fig2_cpu_tasks_by_m.png)" in written
    assert (tmp_path / "docs" / "pictures" / "fig2_cpu_tasks_by_m.png").read_bytes() == b"picture"
    assert "settings other than" not in written
    assert row.values == {
        "m = 0": {"0": [50.0], "1": [51.0], "2": [52.0]},
        "m = 1": {"0": [60.0], "1": [61.0], "2": [62.0]},
    }
    assert row.commit == "abc"


def test_rows_of_other_machines_stay(tmp_path: Path, sweep: Make, known: dict[str, Claim]) -> None:
    sweep(([50.0], {"m": 0}), ([60.0], {"m": 1}))
    row = measure(known["fig2"], {"fig2": tmp_path / "sweep"})
    write_page(tmp_path, list(known.values()), {"fig2": {"paper": row}})
    assert read_rows(tmp_path) == {"fig2": {"paper": row}}
    assert read_rows(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"fig2": {"cpu": {"verdikt": "held"}}}', '{"fig2": 1}'])
def test_a_record_that_is_none_of_ours_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{re.escape(str(tmp_path / 'results.json'))}: expected a record of results"):
        read_rows(tmp_path)


def test_numbers_of_a_script_are_judged(tmp_path: Path, known: dict[str, Claim]) -> None:
    claim = known["quadratic"]
    assert not is_complete(claim, tmp_path)
    runs = [{"seed": seed, "speed_correlation": 1.0, "bin_rank_correlation": 0.8} for seed in (1, 2, 3)]
    (tmp_path / "quadratic.json").write_text(json.dumps({"runs": runs}))
    assert is_complete(claim, tmp_path)
    row = measure(claim, {"quadratic": tmp_path})
    assert row.verdict == "held in part"
    assert "not met: bin rank correlation: 0.8, 0.8, 0.8 (needed 0.9)" in row.evidence


def test_a_reason_is_shown_where_a_claim_did_not_hold(known: dict[str, Claim], tmp_path: Path, sweep: Make) -> None:
    from dataclasses import replace

    sweep(([60.0], {"m": 0}), ([50.0], {"m": 1}))
    claim = replace(known["fig2"], why_cpu="the stream is too short.")
    row = measure(claim, {"fig2": tmp_path / "sweep"})
    assert "Why: the stream is too short." in page([claim], {"fig2": {"cpu": row}})
    assert "Why" not in page([claim], {"fig2": {"paper": row}})


def test_a_sweep_is_complete_when_all_of_its_jobs_are(tmp_path: Path, known: dict[str, Claim]) -> None:
    assert not is_complete(known["fig2"], tmp_path)
    journal = Journal(tmp_path)
    for number, status in enumerate((RunStatus.COMPLETED, RunStatus.FAILED)):
        journal.write(Job(number, [], str(number), status=status))
    assert not is_complete(known["fig2"], tmp_path)
    journal.write(Job(1, [], "1", status=RunStatus.COMPLETED))
    assert is_complete(known["fig2"], tmp_path)


def test_a_claim_of_several_commands_is_complete_when_the_last_has_drawn(
    tmp_path: Path, known: dict[str, Claim]
) -> None:
    Journal(tmp_path).write(Job(0, [], "0", status=RunStatus.COMPLETED))
    (tmp_path / "sign_switch.json").touch()
    assert not is_complete(known["sign_switch"], tmp_path)
    (tmp_path / "sign_switch.png").touch()
    assert is_complete(known["sign_switch"], tmp_path)


def test_the_commands_of_a_claim_name_the_same_folder(known: dict[str, Claim]) -> None:
    assert command_line(known["sign_switch"], "cpu") == (
        "python src/train.py experiment=sign_switch hydra.run.dir=outputs/sign_switch/run && "
        "python scripts/sign_switch.py outputs/sign_switch/run --out outputs/sign_switch --images 2000"
    )


def test_settings_besides_the_claims_own_are_told(tmp_path: Path, known: dict[str, Claim]) -> None:
    claimed = ["experiment=fig2", "seed=range(0,5)", "budget=cpu", "hydra.sweep.dir=x", "logger=none", "resume=true"]
    Journal(tmp_path).begin([*claimed, "scenario=pdigits", "data_dir=/data"])
    assert other_settings(known["fig2"], tmp_path) == ["scenario=pdigits"]


def test_files_that_lack_what_the_claim_asks_for_are_named(
    tmp_path: Path, sweep: Make, known: dict[str, Claim]
) -> None:
    sweep(([60.0], {"strategy.name": "meta"}))
    with pytest.raises(UserError, match=r"^table1: expected the runs that it is judged by in .*sweep, got "):
        measure(known["table1"], {"table1": tmp_path / "sweep"})


def test_a_claim_judged_by_a_scripts_numbers_says_the_conditions_of_its_runs_or_its_seeds(
    tmp_path: Path, lay: Callable[..., Path], known: dict[str, Claim]
) -> None:
    folder = tmp_path / "sign_switch"
    lay(folder / "run", [90, 80], {})
    layers = [{"name": f"layer{i}", "rank_correlation": 0.95} for i in (1, 2, 3)]
    (folder / "sign_switch.json").write_text(json.dumps({"layers": layers}))
    row = measure(known["sign_switch"], {"sign_switch": folder})
    assert row.conditions.startswith("(Seeds: 1; normalization: batch, per task, γ uniform, batch; optimizer: kept;")

    runs = [{"seed": seed, "speed_correlation": 1.0, "bin_rank_correlation": 1.0} for seed in (1, 2)]
    alone = tmp_path / "quadratic"
    alone.mkdir()
    (alone / "quadratic.json").write_text(json.dumps({"runs": runs}))
    row = measure(known["quadratic"], {"quadratic": alone})
    assert row.conditions == "(Seeds: 1, 2; no network is trained.)"


def test_runs_that_cannot_be_compared_say_so(tmp_path: Path, sweep: Make, known: dict[str, Claim]) -> None:
    for name, epochs in (("fig2", 40), ("fig2_mlp", 20)):
        sweep(*[([50.0 + m], {"m": m, "epochs_per_task": epochs}) for m in (0, 1)], name=name)
    row = measure(known["fig2_mlp"], {name: tmp_path / name for name in ("fig2", "fig2_mlp")})
    assert row.verdict == "not comparable"
    assert row.evidence == "the runs compared differ in epochs_per_task 20 against 40"
    assert "| **not comparable** |" in page([known["fig2_mlp"]], {"fig2_mlp": {"paper": row}})


def test_the_page_of_the_repository_is_the_one_that_its_record_makes(known: dict[str, Claim]) -> None:
    docs = Path(__file__).parents[2] / "docs"
    rows = read_rows(docs)
    assert (docs / "results.md").read_text("utf-8") == page(list(known.values()), rows)
    for by_budget in rows.values():
        for row in by_budget.values():
            assert row.verdict not in ("held", "held in part", "did not hold") or row.n >= 3
            assert row.verdict == "measured" or not row.margin or row.n >= 3
