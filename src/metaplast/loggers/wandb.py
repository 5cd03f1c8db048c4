"""Record a run in Weights & Biases, beside the files of its run directory.

Recording is offline in RUN_DIR/wandb unless online is requested. Nothing here prompts, and no call of W&B is waited for
longer than a few seconds. Whatever W&B raises, or its process dies of, it is given up with one warning. The training
goes on, and `scripts/sync.py` uploads the run later.
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
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from torch import Tensor

from metaplast.errors import UserError
from metaplast.loggers.base import NullLogger
from metaplast.loggers.wandb_offline import mark_synced
from metaplast.metrics import average_accuracy, backward_transfer, forgetting
from metaplast.runs.names import CONFIG, LAST_CHECKPOINT, SUMMARY

if TYPE_CHECKING:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

T = TypeVar("T")

PROBE_SECONDS = 1.5
"""Limit for the first answer of a server."""
INIT_SECONDS = 3.0
"""Limit for a server that responds, but does not start a run; together with the probe, less than 5 s."""
CALL_SECONDS = 4.0
"""Limit for any other call, and for uploading the rest at the end; what is not uploaded stays on the disk."""
MODEL_SECONDS = 600.0
"""The limit at the end where the model is uploaded, too, and the server responds."""
SERVICE_SECONDS = 30.0
"""Limit for starting W&B's own process on a busy machine, on top of the others."""


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
    """Whether a server at `url` responds within `PROBE_SECONDS` and is not out of order; through the usual proxies."""
    try:
        return _within(PROBE_SECONDS, lambda: _ask(url))  # looking up a name has no timeout of its own
    except TimeoutError:
        return False


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


OUT_OF_ORDER = (429, 500, 502, 503, 504)
"""Statuses after which W&B would repeat a request for minutes."""


def _ask(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except HTTPError as error:
        error.close()
        return error.code not in OUT_OF_ORDER
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # it is there; W&B may know its certificate
    except (OSError, ValueError):
        return False


def _within(seconds: float, action: Callable[[], T]) -> T:
    """The result of `action`, which is abandoned, in its thread, if it takes longer.

    Raises:
        TimeoutError: if it takes longer.
        RuntimeError: if it raises anything, such as the SystemExit by which W&B tells that its process died.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        reason = str(errors[0]).partition("\n")[0]
        raise RuntimeError(reason if isinstance(errors[0], Exception) else f"its process ended: {reason}") from errors[
            0
        ]
    if not results:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return results[0]


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
        self._finish_seconds = CALL_SECONDS
        self._weights: Mapping[str, Tensor] = {}
        self._recording = Path(run.settings.sync_file)
        self.view_command = f"wandb leet {shlex.quote(str(run_dir / 'wandb'))}"
        self.sync_command = sync_command(run_dir) if run.offline else None
        self._guarded(_define_axes)

    @functools.cached_property
    def logger(self) -> "WandbLogger":
        """For `Trainer(logger=…)`: what a LightningModule logs by itself goes to the same run."""
        from pytorch_lightning.loggers import WandbLogger  # takes seconds, needed only with a Trainer

        guarded = self._guarded

        class GuardedLogger(WandbLogger):
            def log_metrics(self, *arguments: Any, **named: Any) -> None:
                guarded(lambda _: WandbLogger.log_metrics(self, *arguments, **named))

            def log_hyperparams(self, *arguments: Any, **named: Any) -> None:
                guarded(lambda _: WandbLogger.log_hyperparams(self, *arguments, **named))

        run = self._started_as
        return GuardedLogger(experiment=run, project=run.project, save_dir=self._run_dir)

    def watch(self, weights: Mapping[str, Tensor]) -> None:
        """Add histograms of these hidden weights, by layer, to every row from now on."""
        self._weights = dict(weights)

    def write(self, row: Mapping[str, float | int]) -> None:
        """Log the row of a measured epoch, with histograms of the hidden weights watched."""
        from metaplast.loggers.wandb_charts import weights_histogram

        histograms = {f"hidden_weights/{name}": weights_histogram(hidden) for name, hidden in self._weights.items()}
        values = {**row, "trainer/global_step": row["step"], **histograms}
        self._guarded(lambda run: run.log(values))

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
        self._guarded(lambda run: run.log({"task": task, **defined, "accuracy_matrix": matrix_image(R)}))
        if task == len(R) - 1:
            self._guarded(
                lambda run: run.log({"accuracy_table": matrix_table(R), "accuracy_heat_map": matrix_chart(R)})
            )

    def summary(self, values: Mapping[str, Any]) -> None:
        """Add the results to W&B's summary, except what W&B stores elsewhere."""
        kept = {key: value for key, value in values.items() if key not in ("versions", "wandb")}
        self._guarded(lambda run: run.summary.update(kept))

    def model(self, metadata: Mapping[str, Any]) -> None:
        """Keep the model as it is now as an artifact of its own name, `model-ID`, with a few values to find it by.

        The files are not copied: offline, they have to be where they are until the run is uploaded.
        """
        import wandb

        def log(run: "wandb.Run") -> None:
            artifact = wandb.Artifact(f"model-{run.id}", type="model", metadata=dict(metadata))
            for name in MODEL_FILES:
                artifact.add_file(str(self._run_dir / name), name=name, policy="immutable")
            run.log_artifact(artifact)

        if self._run is not None and (self._run.offline or server_responds(self._run.settings.base_url)):
            self._finish_seconds = MODEL_SECONDS
            self._guarded(log)

    def finish(self, exit_code: int = 0) -> None:
        """End the run, as failed unless the exit code is 0. Call it whatever happens; a second call does nothing."""
        self._guarded(lambda run: run.finish(exit_code=exit_code), self._finish_seconds + 1)
        run, self._run = self._run, None
        if run is None or run.offline:
            return
        with contextlib.suppress(OSError):
            # Of a server that refuses the rows for good, W&B says so in this file only.
            if b"fatal error" in Path(run.settings.log_internal).read_bytes():
                self._warn("its server did not take everything")
            else:
                mark_synced(self._recording)

    def _guarded(self, action: "Callable[[wandb.Run], object]", seconds: float = CALL_SECONDS) -> None:
        """Apply `action` to the run; if W&B fails, warn once and continue without it."""
        import wandb

        run = self._run
        if run is None:
            return
        try:
            _within(seconds, lambda: action(run))
        except (RuntimeError, TimeoutError) as error:
            self._run = None
            _quiet_threads()
            with contextlib.suppress(RuntimeError, TimeoutError):
                _within(1, wandb.teardown)  # so that the next run in this process starts W&B again
            self._warn(str(error))

    def _warn(self, reason: str) -> None:
        self.sync_command = sync_command(self._run_dir)
        warnings.warn(
            f"W&B failed ({reason}); later rows, perhaps earlier ones, are in metrics.csv only; "
            f"upload the run later by: {self.sync_command}",
            stacklevel=4,
        )


def sync_command(run_dir: Path) -> str:
    """What uploads the run in `run_dir` later, completed from its files."""
    return f"python scripts/sync.py {shlex.quote(str(run_dir))}"


@functools.cache
def _quiet_threads() -> None:
    """W&B's own threads, too, raise what it failed with; that is said once."""
    shown = threading.excepthook
    threading.excepthook = lambda raised: None if raised.exc_type.__module__.startswith("wandb.") else shown(raised)


def _define_axes(run: "wandb.Run") -> None:
    for name in STEPS:
        run.define_metric(name, hidden=True)
    for name in EPOCH_METRICS:
        run.define_metric(name, step_metric="epoch")
    for name in TASK_METRICS:
        run.define_metric(name, step_metric="task")


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
        UserError: if there is no such mode, or there are no credentials for online recording.
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
    run_dir.mkdir(parents=True, exist_ok=True)  # else W&B takes the system's temporary folder
    if mode != "offline":
        server = require_credentials()
        reason = "does not answer"
        try:
            if server_responds(server):
                return WandbRun(
                    _init(mode, arguments, MODEL_SECONDS if settings.get("model_artifact") else CALL_SECONDS), run_dir
                )
        except (RuntimeError, TimeoutError) as error:
            reason = f"cannot be used ({error})"
        later = f"recording offline, upload later by: {sync_command(run_dir)}"
        warnings.warn(f"W&B: {server} {reason}; {later}", stacklevel=2)
    try:
        return WandbRun(_init("offline", arguments, CALL_SECONDS), run_dir)
    except (RuntimeError, TimeoutError) as error:
        warnings.warn(f"W&B cannot start ({error}); metrics.csv has all rows, W&B none", stacklevel=2)
        return NullLogger()


def _init(mode: Any, arguments: Mapping[str, Any], finish_seconds: float) -> "wandb.Run":
    import wandb

    quiet = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=INIT_SECONDS,
        finish_timeout=finish_seconds,  # also of its process, when it is torn down
        finish_timeout_raises=True,
    )
    _within(SERVICE_SECONDS, lambda: wandb.setup().ensure_service())
    # W&B would continue a run that is still open in this process, whoever opened it.
    start = functools.partial(wandb.init, mode=mode, reinit="create_new", settings=quiet, **arguments)
    return _within(SERVICE_SECONDS if mode == "offline" else INIT_SECONDS + 0.5, start)
