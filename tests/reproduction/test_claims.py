"""The claims as data: each can be tried as it says, and is judged by a function that is there."""

from pathlib import Path

import pytest

from metaplast.reproduction.claims import NOT_AVAILABLE, Claim, claims

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.name)
def test_a_claim_names_commands_that_are_there(claim: Claim) -> None:
    for command in claim.commands:
        script, *words = command.split()
        assert (ROOT / script).is_file()
        for experiment in (word.partition("=")[2] for word in words if word.startswith("experiment=")):
            assert (ROOT / "conf" / "experiment" / f"{experiment}.yaml").is_file()
        assert "{out}" in command
    assert {*claim.needs} <= {other.name for other in claims()} - {claim.name}


def test_names_are_folders_and_each_is_there_once() -> None:
    names = [claim.name for claim in claims()]
    assert len({*names}) == len(names)
    assert all(name.isidentifier() for name in names)


def test_every_claim_says_what_the_paper_says_or_that_it_is_not_available() -> None:
    for claim in claims():
        assert claim.paper_says
        assert (NOT_AVAILABLE in claim.paper_says) != claim.paper_number_known
