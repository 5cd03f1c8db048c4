"""The end of a run as it stands on a terminal, in a file, and where color or letters are missing."""

import io
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from metaplast.report.console import print_summary

WHOLE = """\
meta · m = 1.3 · pmnist · bnn · seed 0

            test accuracy on task, %
after task    0     1
        0  90.0     –
        1  80.0  95.0

average accuracy 87.5 % ↑   forgetting 10.0 ↓   BWT −10.0 ↑   FWT – ↑
↑ more is better, ↓ less is better; forgetting, BWT and FWT in points

norm batch, shared, γ uniform, population · optimizer kept
task boundary in training: no · task label in testing: yes
finished: trained for 3 min 41 s at 6,778 samples a second
run directory: outputs/train/2025-11-24/17-49-03
"""


def printed(summary: dict[str, Any], width: int = 80, **console: Any) -> str:
    file = io.StringIO()
    print_summary(summary, Console(file=file, width=width, **console))
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())


def of_tasks(summary: dict[str, Any], n_tasks: int) -> dict[str, Any]:
    rows = [[1.0 if j <= i else 0.1 for j in range(n_tasks)] for i in range(n_tasks)]
    return summary | {"accuracy_matrix": rows, "n_tasks": n_tasks}


def test_all_of_it_is_plain_text_where_there_is_no_terminal(summary: dict[str, Any]) -> None:
    assert printed(summary) == WHOLE


def test_standard_output_is_where_it_goes(summary: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(summary)
    assert "run directory: outputs/train/2025-11-24/17-49-03\n" in capsys.readouterr().out


@pytest.mark.parametrize("n_tasks", [1, 5, 10, 20])
def test_no_line_is_wider_than_80_columns(summary: dict[str, Any], n_tasks: int) -> None:
    widest = of_tasks(summary, n_tasks) | {"reset_optimizer": True, "task_label_used": False, "train_seconds": 359_999}
    assert max(len(line) for line in printed(widest).splitlines()) <= 80


def test_a_matrix_wider_than_the_terminal_becomes_a_row_a_task(summary: dict[str, Any]) -> None:
    text = printed(summary | {"accuracy_matrix": [[0.9, 0.1, 0.1], [0.8, 0.7, 0.1], [0.6, None, 0.5]]}, width=27)
    assert "     0    90.0        60.0\n     1    70.0           –\n     2    50.0        50.0\n" in text
    assert "accuracy_matrix.csv holds it" in text


def test_a_long_run_directory_is_not_broken_in_two(summary: dict[str, Any]) -> None:
    folder = "/scratch/" + "x" * 200
    assert f"run directory: {folder}\n" in printed(summary | {"run_dir": folder})


def test_cells_are_colored_on_a_terminal(summary: dict[str, Any]) -> None:
    text = printed(
        summary | {"accuracy_matrix": [[1.0, 0.0], [0.5, 0.75]]}, force_terminal=True, color_system="truecolor"
    )
    for red, green, blue in [(253, 231, 37), (68, 1, 84), (33, 145, 140), (94, 201, 98)]:  # viridis
        assert f"48;2;{red};{green};{blue}m" in text


def test_no_color_takes_the_color_away(summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(summary, force_terminal=True, color_system="truecolor")
    assert ";48;" not in text
    assert "[48;" not in text
    assert "90.0" in text


def test_a_terminal_without_unicode_gets_ascii(summary: dict[str, Any]) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    print_summary(summary | {"run_dir": "outputs/é"}, Console(file=file, width=80))
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "meta | m = 1.3 | pmnist" in text
    assert "BWT -10.0 ^   FWT - ^" in text
    assert "run directory: outputs/?" in text


def test_what_the_network_has_not_is_not_named(summary: dict[str, Any]) -> None:
    text = printed(summary | {"norm": "none", "gamma_init": None, "test_statistics": None, "reset_optimizer": True})
    assert "\nnorm none · optimizer reset at each task\n" in text


def test_printing_imports_neither_torch_nor_matplotlib() -> None:
    code = "import sys, metaplast.report.console; print({'torch', 'matplotlib'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_the_column_of_a_stream_is_broken_into_rows_of_ten(summary: dict[str, Any]) -> None:
    text = printed(summary | {"accuracy_matrix": [[i / 100] for i in range(12)]})
    assert "after part   +0    +1    +2    +3    +4    +5    +6    +7    +8    +9\n" in text
    assert "        0   0.0   1.0   2.0   3.0   4.0   5.0   6.0   7.0   8.0   9.0\n       10  10.0  11.0\n" in text


def test_validation_data_are_named(summary: dict[str, Any]) -> None:
    validated = {**summary, "eval_split": "validation", "val_fraction": 0.25}
    assert "tested on validation data (0.25 of the training data), not on the test data" in printed(validated)


def test_of_a_long_stream_some_tasks_are_listed(summary: dict[str, Any]) -> None:
    text = printed(of_tasks(summary, 1000))
    assert len(text.splitlines()) < 50
    assert "\n     0   100.0       100.0\n" in text
    assert "\n   999   100.0       100.0\n" in text


def test_a_label_told_by_the_test_batch_is_said_within_80_columns(summary: dict[str, Any]) -> None:
    text = printed(summary | {"test_statistics": "batch", "task_label_used": False, "task_boundary_used": True})
    assert "task boundary in training: yes · task label in testing: through the test batch\n" in text
    assert max(map(len, text.splitlines())) <= 80
