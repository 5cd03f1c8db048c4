"""The schema of the configuration: for each setting its constraint and one sentence that explains it.

The checks with their errors, `--help`, docs/settings.md and conf/schema.json are all made from these tables. Defaults
are in conf/*.yaml. The settings of a scenario, a model, an optimizer or a plugin belong to its `_target_`, so that a
choice of the user's own needs no entry; those of ours are in `metaplast.config.targets`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from metaplast.config.constraints import (
    BOOLEAN,
    NOT_NEGATIVE,
    NULL,
    TEXT,
    Constraint,
    M,
    either,
    integer,
    list_of,
    number,
    one_of,
)
from metaplast.runs.untrusted import is_dotted_name

BUDGETS = ("cpu", "paper")
EVAL_TASKS = r"all|seen|(last_k|sampled):[1-9]\d*"
"""The values of `eval_tasks`, as a regular expression."""
PLOTS = (
    "tasks_by_m",
    "hidden_weights",
    "accuracy_by_width",
    "two_tasks",
    "stream_against_all_at_once",
    "accuracy_table",
    "normalization",
)


class Setting(NamedTuple):
    """One setting."""

    constraint: Constraint
    text: str
    """What it does, in one sentence, with its unit."""
    required: bool = True
    """Whether every configuration has it."""


_DOTTED = Constraint(
    "the full name of a function or class, such as my_lab.negatives", is_dotted_name, {"type": "string"}
)

SETTINGS: Mapping[str, Setting] = {
    "m": Setting(
        either(M, NULL), "Metaplasticity: one number or one per weight layer; null takes the default of the strategy."
    ),
    "seed": Setting(
        integer(0, 2**32 - 1), "Determines the permutations, the initial weights and the order of batches."
    ),
    "epochs_per_task": Setting(integer(1, 1_000_000), "Training epochs on each task."),
    "batch_size": Setting(integer(1), "Images per training batch."),
    "eval_batch_size": Setting(
        integer(1), "Images per test batch; affects accuracy only with model.test_statistics=batch."
    ),
    "eval_every_n_epochs": Setting(integer(1), "Epochs between two tests of all tasks; has to divide epochs_per_task."),
    "eval_tasks": Setting(
        Constraint(
            "all, seen, last_k:N or sampled:N",
            lambda value: bool(re.fullmatch(EVAL_TASKS, str(value))),
            {"type": "string", "pattern": f"^({EVAL_TASKS})$"},
        ),
        "Tasks tested after an epoch; before training and at the end all are.",
        False,
    ),
    "budget": Setting(
        one_of(*BUDGETS), "Size of an experiment that has two: minutes on two cores, or the paper's own.", False
    ),
    "plots": Setting(
        list_of(one_of(*PLOTS), f"a list of any of {', '.join(PLOTS)}"),
        "Plots of a whole sweep, drawn when it ends; an experiment names its own.",
        False,
    ),
    "eval_split": Setting(
        one_of("test", "validation"), "Data to evaluate on; validation is a part of the training data that is held out."
    ),
    "val_fraction": Setting(
        number("> 0 and < 1", lambda share: 0 < share < 1, exclusiveMinimum=0, exclusiveMaximum=1),
        "Fraction of each class's training images that is held out with eval_split=validation.",
    ),
    "max_tasks": Setting(
        either(integer(1), NULL), "Trains only the first tasks, with the network for all of them; null trains all."
    ),
    "diagnostics": Setting(
        BOOLEAN,
        "Writes diagnostics.csv, a row per epoch, and the accuracy matrix under the other test statistics.",
        False,
    ),
    "data_dir": Setting(TEXT, "Directory in which data sets are looked for and to which they are downloaded."),
    "resume": Setting(
        either(TEXT, Constraint("true (with -m)", lambda value: value is True, {"const": True}), NULL),
        "Directory of an interrupted run to resume with its own configuration; auto: the run in hydra.run.dir, a new "
        "one if it has no checkpoint; true with -m resumes a sweep.",
    ),
    "trust": Setting(
        either(_DOTTED, list_of(_DOTTED, "a list of such"), NULL),
        "With resume: names of your own that the config.yaml of the run may build.",
        False,
    ),
    "strategy.uses_m": Setting(BOOLEAN, "Whether the optimizer gets m; with false the step is the plain one."),
    "strategy.task_order": Setting(
        one_of("sequence", "joint"), "Trains one task after another, or all tasks mixed from the start."
    ),
    "strategy.reset_optimizer": Setting(
        BOOLEAN, "Resets the optimizer's state at each task, which uses the task boundary."
    ),
    "trainer.accelerator": Setting(one_of("auto", "cpu", "gpu"), "Device; auto takes a GPU if there is one."),
    "trainer.threads": Setting(
        either(integer(1, 1024), NULL), "CPU threads; null takes all available cores and yields to other processes."
    ),
    "trainer.compile": Setting(
        one_of("auto", True, False),
        "Compiles the metaplastic step into one kernel; auto does so for large weights if there is a compiler.",
    ),
    "trainer.native": Setting(
        BOOLEAN,
        "Takes the steps of a bnn on a CPU by a kernel, compiled once for a machine; false leaves them to torch.",
        False,  # so here and below: a run of before the kernel can be resumed
    ),
    "trainer.steps_per_call": Setting(
        either(integer(1, 10_000), one_of("auto")),
        "Steps that the kernel takes between two looks at progress and signals; results do not depend on it.",
        False,
    ),
    "trainer.precision": Setting(
        one_of("32-true", "bf16-mixed", "16-mixed", "64-true"), "Numerical precision, by Lightning's names."
    ),
    "trainer.checkpoint_every": Setting(integer(0), "Epochs between two checkpoints; 0 writes none."),
    "trainer.progress": Setting(
        one_of("auto", "bar", "lines", "none"),
        "Progress display; auto shows a bar on a terminal and a line per epoch elsewhere.",
    ),
    "logger.mode": Setting(
        one_of("offline", "online", "disabled", "shared"),
        "Mode of W&B; offline sends nothing until `wandb sync`.",
        False,
    ),
    "logger.project": Setting(TEXT, "W&B project.", False),
    "logger.entity": Setting(either(TEXT, NULL), "W&B team or user; null takes the account's default.", False),
    "logger.group": Setting(
        either(TEXT, NULL), "W&B group; null takes the sweep's directory for the runs of a sweep.", False
    ),
    "logger.run_name": Setting(
        either(TEXT, NULL), "Name of the W&B run; null makes it from strategy, m, scenario, model and seed.", False
    ),
    "logger.tags": Setting(
        list_of(TEXT, "a list of texts"), "W&B tags in addition to strategy, scenario, model and experiment.", False
    ),
    "logger.notes": Setting(either(TEXT, NULL), "W&B notes; null takes the overrides as typed.", False),
    "logger.model_artifact": Setting(
        BOOLEAN, "Uploads the last checkpoint to W&B, with config.yaml and summary.json.", False
    ),
    "first_tasks.candidates": Setting(list_of(NOT_NEGATIVE, "a list of numbers >= 0"), "Values of m to try.", False),
    "first_tasks.per_layer": Setting(BOOLEAN, "Also tries a different m per layer, drawn from the candidates.", False),
    "first_tasks.n_trials": Setting(integer(1), "Largest number of trials.", False),
    "first_tasks.n_tasks": Setting(integer(1), "Number of first tasks on which m is chosen.", False),
    "first_tasks.hindsight": Setting(
        BOOLEAN, "Also trains all tasks with each m, to report how far the choice is from the best.", False
    ),
    "search.name": Setting(TEXT, "Name of the study's directory below outputs/studies.", False),
    "search.space": Setting(
        Constraint("a section of ranges by key", lambda value: isinstance(value, dict), {"type": "object"}),
        "Range of each searched setting, as in docs/search.md; null omits it.",
        False,
    ),
    "search.n_trials": Setting(
        integer(1), "Number of trials in all; the same command again adds what is missing.", False
    ),
    "search.n_jobs": Setting(
        either(integer(1), NULL), "Trials at a time; null takes as many as the launcher runs at once.", False
    ),
    "search.sampler": Setting(
        one_of("tpe", "random"), "How trials are drawn; tpe concentrates on the regions of good trials.", False
    ),
    "search.pruner": Setting(
        one_of("median", "none"), "Whether a trial stops that is below the median of the others.", False
    ),
    "search.n_startup_trials": Setting(integer(1), "Random trials before the sampler and the pruner start.", False),
}
"""Every setting that does not belong to a `_target_`, by its key."""

GROUPS = ("scenario", "model", "strategy", "trainer", "logger")
"""The groups of which every configuration has one choice."""
FROM_THE_RUN = {
    "scenario": ("seed", "data_dir"),
    "model": ("input_shape", "n_classes", "n_tasks"),
    "strategy.optimizer": ("params", "m"),
}
"""By section, the arguments that the run itself passes to the target."""
