"""A W&B workspace and a W&B report for a project.

Both are specifications that `wandb-workspaces` (the extra `team`) turns into JSON, with or without a server. They refer
to what every run logs: `HISTORY`, `SUMMARY` and `CONFIG`.
"""

import json
from typing import TYPE_CHECKING, Any

from metaplast.errors import UserError

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import Report
    from wandb_workspaces.workspaces import Workspace

NAME = "How much of the old tasks is left"
BY_EPOCH = ("average_accuracy_seen", "train_loss")
EACH_TASK = "accuracy/task_"
"""What the curves of single tasks begin with; each is drawn against `epoch`."""
BY_TASK = ("after_task/average_accuracy", "after_task/forgetting", "after_task/backward_transfer")
MATRIX, MATRIX_TABLE = "accuracy_matrix", "accuracy_heat_map_table"
HISTORY = ("epoch", "task", *BY_EPOCH, f"{EACH_TASK}0", *BY_TASK, MATRIX, MATRIX_TABLE)
"""Names in the rows of a run."""
SUMMARY = ("average_accuracy", "forgetting")
"""Names in the summary of a run."""
CONFIG = ("strategy.name", "scenario.name", "m", "strategy.optimizer.lr", "seed")
"""Names in the configuration of a run, dotted, that the tables show."""
CONDITIONS = (
    *("model.name", "model.hidden", "model.norm", "model.norm_per_task", "model.gamma_init", "model.test_statistics"),
    *("strategy.reset_optimizer", "scenario.n_tasks", "epochs_per_task", "batch_size", "eval_split"),
)
"""Names by which runs are told apart as well, where they are averaged; a run may lack some."""


def workspace(entity: str, project: str) -> "Workspace":
    """The workspace: curves, accuracy against m, parallel coordinates and matrices of the runs that are shown.

    Raises:
        UserError: if wandb-workspaces is not installed.
    """
    ws, _ = _libraries()
    sections = [ws.Section(name=name, panels=panels, is_open=True) for name, panels in _panels().items()]
    columns = [*(f"summary:{name}" for name in SUMMARY), *(f"config:{_dotted(name)}" for name in CONFIG)]
    return ws.Workspace(  # type: ignore[no-any-return]
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=50),
        runset_settings=ws.RunsetSettings(pinned_columns=["run:displayName", "run:state", *columns]),
    )


def report(entity: str, project: str, connected: bool = False) -> "Report":
    """The report: the same panels, over runs averaged where `CONFIG` and `CONDITIONS` are alike but for the seed.

    Args:
        entity: user or team.
        project: the project.
        connected: whether the server may be asked for the project, which a report needs before it is saved.

    Raises:
        UserError: if wandb-workspaces is not installed.
    """
    _, wr = _libraries()
    of = {"entity": entity, "project": project} if connected else {}
    blocks: list[Any] = []
    for name, panels in _panels().items():
        groupby = [] if name == "Matrices" else [f"config.{key}" for key in (*CONFIG, *CONDITIONS) if key != "seed"]
        runset = wr.Runset(name="all runs", groupby=groupby, **of)
        blocks += [wr.H2(text=name), wr.PanelGrid(runsets=[runset], panels=panels)]
    return wr.Report(  # type: ignore[no-any-return]
        entity=entity,
        project=project,
        title=NAME,
        description="Lines are means over seeds, bands one standard deviation.",
        blocks=blocks,
        width="fluid",
    )


def specification(entity: str, project: str) -> str:
    """Workspace and report as JSON, without asking any server.

    Raises:
        UserError: if wandb-workspaces is not installed.
    """
    models: dict[str, Any] = {"workspace": workspace(entity, project), "report": report(entity, project)}
    # There is no public way; `save` does the same.
    plain = {
        name: json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))
        for name, made in models.items()
    }
    return json.dumps(plain, indent=2, ensure_ascii=False)


def save(entity: str | None, project: str) -> list[str]:
    """Save workspace and report on the server of `wandb login`, and return their addresses.

    Args:
        entity: user or team; None: the user's default.
        project: the project; it is made if there is none.

    Raises:
        UserError: if wandb-workspaces is not installed, or the server does not take them.
    """
    _libraries()
    import wandb

    try:
        owner = entity or wandb.Api().default_entity
        if not owner:
            raise UserError("--entity: W&B knows no default one; give a user or a team")
        made: list[Any] = [report(owner, project, connected=True), workspace(owner, project)]
        return [str(each.save().url) for each in made]
    except UserError:
        raise
    except Exception as error:  # the library raises what its transport raises
        raise UserError(f"W&B does not take it: {' '.join(str(error).split())[:200]}") from error


def _panels() -> dict[str, list[Any]]:
    """By section. A panel belongs to one place, so each gets new ones."""
    _, wr = _libraries()
    over_seeds = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    by_epoch = [wr.LinePlot(title=name, x="epoch", y=[name], **over_seeds) for name in BY_EPOCH]
    tasks = wr.LinePlot(title="accuracy of each task", x="epoch", metric_regex=f"{EACH_TASK}.*", **over_seeds)
    by_task = [wr.LinePlot(title=name, x="task", y=[name], **over_seeds) for name in BY_TASK]
    against_m = [
        wr.ScatterPlot(title=f"{name} against m", x=wr.Config("m"), y=wr.SummaryMetric(name)) for name in SUMMARY
    ]
    columns = [wr.Config(name) for name in CONFIG] + [wr.SummaryMetric(name) for name in SUMMARY]
    parallel = wr.ParallelCoordinatesPlot(
        title="settings and what came of them",
        columns=[wr.ParallelCoordinatesPlotColumn(metric=column) for column in columns],
    )
    names = {name: name for name in ("Actual", "Predicted", "nPredictions")}
    heat_map = wr.CustomChart(
        query={"summaryTable": {"tableKey": MATRIX_TABLE}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields=names,
        chart_strings={"title": "test accuracy, %"},
    )
    pictures = wr.MediaBrowser(title="R after each task", media_keys=[MATRIX], num_columns=4)
    return {
        "Curves": [tasks, *by_epoch, *by_task],
        "m and accuracy": against_m,
        "All settings": [parallel],
        "Matrices": [pictures, heat_map],
    }


def _dotted(name: str) -> str:
    """A name of the configuration as W&B's tables write it.

    >>> _dotted("strategy.name"), _dotted("m")
    ('strategy.value.name', 'm.value')
    """
    first, dot, rest = name.partition(".")
    return f"{first}.value{dot}{rest}"


def _libraries() -> tuple[Any, Any]:
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError as error:
        raise UserError(
            f"the dashboard needs wandb-workspaces ({error.name} is missing): pip install -e '.[team]'"
        ) from error
    return ws, wr
