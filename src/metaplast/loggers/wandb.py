"""Record a run in Weights & Biases, beside the files of its run directory.

Recording is offline in RUN_DIR/wandb unless online is requested. Nothing here prompts or waits for an unreachable
network: the server is probed for at most a few seconds. A failure of W&B does not end the training.
"""

import contextlib
import functools
import os
import shlex
import ssl
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from torch import Tensor

from metaplast.errors import UserError
from metaplast.loggers.base import NullLogger
from metaplast.metrics import average_accuracy, backward_transfer, forgetting
from metaplast.runs.paths import CONFIG, LAST_CHECKPOINT, SUMMARY

if TYPE_CHECKING:
    import wandb
    from pytorch_lightning.loggers import WandbLogger


PROBE_SECONDS = 2.5


def require_credentials() -> str:
    """Find the user's W&B credentials and return the address of their server.

    Raises:
        UserError: if there are none, or they are malformed. (W&B itself would prompt and wait forever.)
    """
    try:
        return _credentials()
    except UserError as error:
        raise UserError(f"logger.mode=online: {error}, or use logger=wandb, which records offline") from error


def require_server() -> str:
    """Return the address of a server that responds and for which there are credentials.

    Raises:
        UserError: if there is none.
    """
    server = _credentials()
    if not server_responds(server):
        raise UserError(f"W&B: {server} does not answer")
    return server


def server_responds(url: str) -> bool:
    """Whether a server responds at `url` within `PROBE_SECONDS`, with any status; through the usual proxies."""
    replies: list[bool] = []
    # In a thread, since looking up a name has no timeout of its own.
    probe = threading.Thread(target=lambda: replies.append(_ask(url)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return replies == [True]


def _credentials() -> str:
    import wandb

    session = wandb.setup(settings=wandb.Settings(mode="online", silent=True))
    try:
        found = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise UserError(str(error)) from error
    if not found:
        raise UserError("W&B finds no API key; run `wandb login` or set WANDB_API_KEY")
    return str(session.settings.base_url)


def _ask(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except HTTPError as error:
        error.close()
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # it is there; W&B may know its certificate
    except (OSError, ValueError):
        return False


MODES = ("offline", "online", "disabled", "shared")

EPOCH_METRICS = (
    "accuracy/*",
    "average_accuracy_seen",
    "flips/*",
    "hidden_weights/*",
    "samples_per_second",
    "seconds",
    "train_loss",
)
"""Drawn against `epoch`. There is no catch-all pattern: if two patterns match, W&B may use either."""
TASK_METRICS = ("after_task/*", "accuracy_matrix")
"""Drawn against `task`."""
STEPS = ("epoch", "task", "step", "epoch_in_task", "trainer/global_step")
"""Used as x axes only."""

INIT_SECONDS = 10.0
"""Limit for a server that responds, but does not start a run."""
FINISH_SECONDS = 20.0
"""Limit for uploading the rest, a megabyte at most; what is not uploaded stays on the disk."""
MODEL_SECONDS = 600.0
"""The same where the model is uploaded, too."""

MODEL_FILES = (LAST_CHECKPOINT, CONFIG, SUMMARY)
"""Files of a run directory that make up its model: weights, configuration and results."""


class WandbRun(NullLogger):
    """A run that W&B records.

    Args:
        run: a run that `wandb.init` started.
        run_dir: the run directory it was started in.
    """

    def __init__(self, run: "wandb.Run", run_dir: Path) -> None:
        self._run: wandb.Run | None = run
        self._started_as, self._run_dir = run, run_dir
        self._weights: Mapping[str, Tensor] = {}
        self._sync = f"wandb sync {shlex.quote(str(run.settings.sync_dir))}"
        self.view_command = f"wandb leet {shlex.quote(str(run_dir / 'wandb'))}"
        self.sync_command = self._sync if run.offline else None
        for name in STEPS:
            run.define_metric(name, hidden=True)
        for name in EPOCH_METRICS:
            run.define_metric(name, step_metric="epoch")
        for name in TASK_METRICS:
            run.define_metric(name, step_metric="task")

    @functools.cached_property
    def logger(self) -> "WandbLogger":
        """For `Trainer(logger=…)`: what a LightningModule logs by itself goes to the same run."""
        from pytorch_lightning.loggers import WandbLogger  # takes seconds, needed only with a Trainer

        run = self._started_as
        return WandbLogger(experiment=run, project=run.project, save_dir=self._run_dir)

    def watch(self, weights: Mapping[str, Tensor]) -> None:
        """Add histograms of these hidden weights, by layer, to every row from now on."""
        self._weights = dict(weights)

    def write(self, row: Mapping[str, float | int]) -> None:
        """Log the row of a measured epoch, with histograms of the hidden weights watched."""
        from metaplast.loggers.wandb_charts import weights_histogram

        histograms = {f"hidden_weights/{name}": weights_histogram(hidden) for name, hidden in self._weights.items()}
        self._log({**row, "trainer/global_step": row["step"], **histograms})

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        """Log the matrix (T, T) or (T, 1) as a picture, its figures over the tasks so far and, at the end, tables."""
        from metaplast.loggers.wandb_charts import matrix_chart, matrix_image, matrix_table

        if self._run is None:
            return
        seen = R[: task + 1, : task + 1]
        figures = {
            "after_task/average_accuracy": average_accuracy(seen),
            "after_task/forgetting": forgetting(seen),
            "after_task/backward_transfer": backward_transfer(seen),
        }
        defined = {name: value for name, value in figures.items() if value == value}  # not NaN
        self._log({"task": task, **defined, "accuracy_matrix": matrix_image(R)})
        # Online, W&B asks the server before it takes a table, and waits for a minute where there is none any more.
        if task == len(R) - 1 and (self._run.offline or server_responds(self._run.settings.base_url)):
            self._log({"accuracy_table": matrix_table(R), "accuracy_heat_map": matrix_chart(R)})

    def summary(self, values: Mapping[str, Any]) -> None:
        """Add the results to W&B's summary, except what W&B stores elsewhere."""
        kept = {key: value for key, value in values.items() if key not in ("versions", "wandb")}
        self._guarded(lambda run: run.summary.update(kept))

    def model(self, metadata: Mapping[str, Any]) -> None:
        """Keep the model as it is now as an artifact of its own name, `model-ID`, with a few values to find it by.

        The files are not copied: offline, they have to be where they are until the run is uploaded.
        """
        import wandb

        # Online, W&B waits for a server that is gone.
        if self._run is None or not (self._run.offline or server_responds(self._run.settings.base_url)):
            return
        artifact = wandb.Artifact(f"model-{self._run.id}", type="model", metadata=dict(metadata))
        for name in MODEL_FILES:
            artifact.add_file(str(self._run_dir / name), name=name, policy="immutable")
        self._guarded(lambda run: run.log_artifact(artifact))

    def finish(self, exit_code: int = 0) -> None:
        """End the run, as failed unless the exit code is 0. Call it whatever happens; a second call does nothing."""
        self._guarded(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _log(self, values: Mapping[str, Any]) -> None:
        self._guarded(lambda run: run.log(dict(values)))

    def _guarded(self, action: "Callable[[wandb.Run], object]") -> None:
        """Apply `action` to the run; if W&B fails, warn once and continue without it."""
        import wandb

        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # whatever it is: its process was killed, its server sent nonsense, time is up
            self._run = None
            with contextlib.suppress(Exception):
                wandb.teardown()  # so that the next run in this process starts W&B again
            warnings.warn(
                f"W&B failed ({_line(error)}); the run directory has everything, {self._sync} uploads what W&B got",
                stacklevel=3,
            )


def create_logger(
    settings: Mapping[str, Any],
    run_dir: Path,
    config: Mapping[str, Any],
    name: str,
    tags: Sequence[str] = (),
    group: str | None = None,
    notes: str | None = None,
    run_id: str | None = None,
) -> NullLogger:
    """Start recording a run as `settings` says.

    Where online recording is asked for and the server cannot be reached, a warning says so and recording is offline.

    Args:
        settings: the `logger` section: `name` (`none`: no recording), `mode`, `project`, `entity`, `group`, `run_name`,
            `tags`, `notes`, `model_artifact`.
        run_dir: the run directory; W&B's files go to its folder `wandb`.
        config: the resolved configuration of the run, plain values only.
        name: what the run is called, unless `settings` has a `run_name`.
        tags: added to those of `settings`.
        group: what the run belongs to, unless `settings` has a `group`.
        notes: a line about the run, unless `settings` has `notes`.
        run_id: W&B's id of the run; a new one where it is None.

    Raises:
        UserError: if there is no such mode, there are no credentials for online recording, or W&B cannot start at all.
    """
    if settings["name"] == "none":
        return NullLogger()
    mode = settings["mode"]
    if mode not in MODES:
        raise UserError(f"logger.mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if mode == "disabled":
        return NullLogger()
    # W&B reports on itself to its server, from offline runs, too; read when it starts.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    arguments = {
        "project": settings["project"],
        "entity": settings["entity"],
        "group": settings["group"] or group,
        "name": settings["run_name"] or name,
        "tags": [*settings["tags"], *tags],
        "notes": settings["notes"] or notes,
        "config": dict(config),
        "dir": str(run_dir),
        "id": run_id,
    }
    finish_seconds = MODEL_SECONDS if settings.get("model_artifact") else FINISH_SECONDS
    run_dir.mkdir(parents=True, exist_ok=True)  # else W&B takes the system's temporary folder
    if mode != "offline":
        server = require_credentials()
        try:
            if server_responds(server):
                return WandbRun(_init(mode, arguments, finish_seconds), run_dir)
            reason = "does not answer"
        except wandb.Error as error:
            reason = f"cannot be used ({_line(error)})"
        run = WandbRun(_init_offline(arguments), run_dir)
        warnings.warn(f"W&B: {server} {reason}; recording offline, upload later by: {run.sync_command}", stacklevel=2)
        return run
    return WandbRun(_init_offline(arguments), run_dir)


def _init_offline(arguments: Mapping[str, Any]) -> "wandb.Run":
    import wandb

    try:
        return _init("offline", arguments, FINISH_SECONDS)
    except wandb.Error as error:
        raise UserError(f"logger: W&B cannot start ({_line(error)}); logger=none does without it") from error


def _init(mode: Any, arguments: Mapping[str, Any], finish_seconds: float) -> "wandb.Run":
    import wandb

    quiet = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=INIT_SECONDS,
        finish_timeout=finish_seconds,
        finish_timeout_raises=True,
    )
    # W&B would continue a run that is still open in this process, whoever opened it.
    return wandb.init(mode=mode, reinit="create_new", settings=quiet, **arguments)


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
