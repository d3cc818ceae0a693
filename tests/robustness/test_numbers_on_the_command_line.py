"""Every numeric option of every command, given odd numbers: it works, or exit code 2 and one line."""

import dataclasses
import itertools
import json
import typing
import warnings

import pytest

from capsulegan import cli
from capsulegan.errors import UserError
from capsulegan.study import execute as execution
from capsulegan.study.configuration import StudyConfig
from capsulegan.training import loop

EXECUTE = execution.execute
VALUES = ("-1", "0", "1e30", "nan", "inf", "-inf", "text", "", str(10**30))
NOT_NUMBERS = ("text", "")


def numeric(command):
    """Names of the options of a command that take a number."""
    hints = typing.get_type_hints(command)
    kinds = (int, float, int | None, float | None, tuple[int, ...])
    return [field.name for field in dataclasses.fields(command) if hints[field.name] in kinds]


CASES = [
    (name, option, value)
    for name, command in cli.COMMANDS.items()
    if dataclasses.is_dataclass(command)
    and name in ("study", "train", "sample", "battle", "classify", "evaluate")
    for option, value in itertools.product(numeric(command), VALUES)
]


@pytest.fixture(scope="module")
def smallest(run, study):
    """Arguments with which each command does something small, but for the option that is tried."""
    gan, judge = study / "runs" / "gan-s0", study / "runs" / "capsnet-s0"
    return {
        "study": ["digits"],
        "train": ["gan", "--data", "digits"],
        "sample": [run, "--count", "2"],
        "battle": [run, gan, "--samples", "4"],
        "classify": [run, "--labels", "20", "--unlabelled", "30", "--no-controls"],
        "evaluate": [run, "--judge", judge, "--samples", "4"],
    }


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch, tmp_path):
    """Stop where training would begin: a value that gets so far was taken."""
    monkeypatch.chdir(tmp_path)

    def train(*arguments, **options):
        raise loop.Interrupted("it would train")

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(execution, "execute", train)


def exit_code(command, arguments):
    with pytest.raises(SystemExit) as end, warnings.catch_warnings():
        cli.main([command, *map(str, arguments)])
    return end.value.code or 0


@pytest.mark.parametrize(("command", "option", "value"), CASES)
def test_a_number_is_taken_or_refused_in_one_line(command, option, value, smallest, capsys):
    given = list(smallest[command])
    flag = f"--{option.replace('_', '-')}"
    if flag in given:
        place = given.index(flag)
        del given[place : place + 2]
    code = exit_code(command, [*given, flag, value, "--json"])
    captured = capsys.readouterr()
    if value in NOT_NUMBERS:
        assert code == 2
    if code == 2:
        assert len(captured.err.splitlines()) == 1
        assert captured.err.startswith("capsulegan: ")
        assert captured.out == ""
    elif code == 0:
        json.loads(captured.out, parse_constant=pytest.fail)
    else:
        assert (code, captured.err) == (130, "capsulegan: it would train\n")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"gamma": float("inf")}, "gamma must be above 0 and finite, got inf"),
        ({"gamma": float("nan")}, "gamma must be above 0"),
        ({"labels": (100, -1)}, "labels must be 1 or more"),
        ({"samples": 10**8}, "samples must be at most"),
        ({"unlabelled": 10**8}, "unlabelled must be at most"),
        ({"workers": 10**6}, "workers must be at most"),
    ],
)
def test_a_study_refuses_at_once_what_would_fail_after_training(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        StudyConfig(data="digits", **settings)


@pytest.mark.parametrize("labels", [(5,), (20, 10**6)])
def test_numbers_of_labels_that_the_data_has_not_are_told_of_before_training(labels, tmp_path):
    with pytest.raises(UserError, match="labels must be between 10"):
        EXECUTE(StudyConfig(data="digits", labels=labels), tmp_path / "study", lambda *_: None)
    assert not (tmp_path / "study").exists()
