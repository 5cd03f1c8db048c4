"""The beginning of a stream."""

from metaplast.errors import UserError
from metaplast.scenarios.scenario import Scenario, task_tensors


def first_tasks(scenario: Scenario, n_tasks: int) -> Scenario:
    """The first `n_tasks` ≥ 1 tasks of a scenario, each as it is there. Raises UserError if it has fewer.

    A test that stands for all tasks stays whole.
    """
    if n_tasks > scenario.n_tasks:
        raise UserError(f"only_tasks={n_tasks}: has to be at most {scenario.n_tasks}, the tasks of the scenario")
    train, test = (
        [task_tensors(experience) for experience in stream][:n_tasks]
        for stream in (scenario.benchmark.train_stream, scenario.benchmark.test_stream)
    )
    classes = scenario.classes_of_task and scenario.classes_of_task[:n_tasks]
    return Scenario.from_tensors(train, test, scenario.n_classes, classes)
