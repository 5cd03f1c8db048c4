"""The dashboard's specification names what it says it names; tests/app/test_run.py holds that every run logs it."""

import json
import re
from typing import Any

import pytest

from metaplast.loggers.wandb_workspace import (
    CONDITIONS,
    CONFIG,
    EACH_TASK,
    HISTORY,
    MATRIX_TABLE,
    SUMMARY,
    specification,
)

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # wandb-workspaces uses it


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(specification("team", "metaplast"))
    return found


def panels_of(made: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The panels of the workspace and those of the report."""
    sections = made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    grids = [block["metadata"] for block in made["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
    return [
        [panel for section in sections for panel in section["panels"]],
        [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]],
    ]


def test_workspace_and_report_show_curves_m_all_settings_and_matrices(made: dict[str, Any]) -> None:
    for panels in panels_of(made):
        kinds = [panel["viewType"] for panel in panels]
        assert kinds == [
            *["Run History Line Plot"] * 6,
            *["Scatter Plot"] * 2,
            *("Parallel Coordinates Plot", "Media Browser", "Vega2"),
        ]


def test_every_name_in_it_is_one_that_runs_log(made: dict[str, Any]) -> None:
    for panels in panels_of(made):
        settings = [panel["config"] for panel in panels]
        history = {name for panel in settings for name in [*panel.get("metrics", []), *panel.get("mediaKeys", [])]}
        assert {panel["xAxis"] for panel in settings if "metrics" in panel} == {"epoch", "task"}
        (regex,) = [panel["metricRegex"] for panel in settings if "metricRegex" in panel]
        assert [name for name in HISTORY if re.fullmatch(regex, name)] == [f"{EACH_TASK}0"]
        assert f'"{MATRIX_TABLE}"' in json.dumps(settings)
        assert history == {*HISTORY} - {"epoch", "task", f"{EACH_TASK}0", MATRIX_TABLE}
    text = json.dumps(made)
    accessors = {*re.findall(r'"(config:[^"]+|summary:[^"]+)"', text)}
    config = {re.sub(r"\.value", "", name.removeprefix("config:")) for name in accessors if name.startswith("config")}
    assert config == {*CONFIG}
    assert {name.removeprefix("summary:") for name in accessors if name.startswith("summary")} == {*SUMMARY}


def test_runs_that_differ_in_the_seed_alone_are_averaged_in_the_report(made: dict[str, Any]) -> None:
    grids = [block["metadata"] for block in made["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
    grouped = [[key["name"].replace(".value", "") for key in grid["runSets"][0]["grouping"]] for grid in grids]
    assert grouped == [[name for name in (*CONFIG, *CONDITIONS) if name != "seed"]] * 3 + [[]]
