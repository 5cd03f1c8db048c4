"""The names of the files in the directory of a run, of a sweep and of a report, each defined once."""

# A run
LOCK = ".lock"
"""Held by the process that works in the directory; it also marks a directory that a run has reserved."""
CONFIG = "config.yaml"
"""The resolved configuration."""
SUMMARY = "summary.json"
"""What was run, its status and its results (:mod:`metaplast.runs.summary`)."""
METRICS = "metrics.csv"
"""A row before training and after every measured epoch (:mod:`metaplast.runs.tables`)."""
DIAGNOSTICS = "diagnostics.csv"
"""A row of quantities inside the network after every measured epoch, with `diagnostics=true`."""
ACCURACY_MATRIX = "accuracy_matrix.csv"
ACCURACY_MATRIX_PNG = "accuracy_matrix.png"
ACCURACY_CURVES_PNG = "accuracy_curves.png"
HIDDEN_WEIGHTS = "hidden_weights.npz"
"""Histograms of the hidden weights after every task."""
HIDDEN_WEIGHTS_PNG = "hidden_weights.png"
LAST_CHECKPOINT = "checkpoints/last.ckpt"
ANY_LAST_CHECKPOINT = "checkpoints/last*.ckpt"
"""A pattern: the last checkpoint, or the one before it."""

# A sweep
SWEEP = "sweep.json"
"""The overrides of the command (:mod:`metaplast.runs.journal`)."""
SWEEP_LOCK = ".sweep.lock"
"""Held by the command that runs the sweep."""
JOBS = "jobs"
"""The folder of the journal's entries and of the jobs' output."""

# A report
SWEEP_CSV = "sweep.csv"
SWEEP_PAGE = "sweep.html"
SWEEP_SCORES_PNG = "sweep_scores.png"
SWEEP_CURVES_PNG = "sweep_curves.png"
SWEEP_MATRICES_PNG = "sweep_matrices.png"


def alternate_matrix(statistics: str) -> str:
    """The accuracy matrix of a run whose tests were repeated with other normalization statistics.

    >>> alternate_matrix("population")
    'accuracy_matrix_population.csv'
    """
    return f"accuracy_matrix_{statistics}.csv"
