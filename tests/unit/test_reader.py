"""Untyped values, read key by key."""

from __future__ import annotations

from enum import Enum

import pytest

from dockermgr.reader import Problem, Reader


class Color(Enum):
    RED = "Red"
    BLUE = "Blue"


def reader(value: object) -> Reader:
    return Reader({"key": value})


def test_a_problem_reads_as_a_sentence() -> None:
    assert str(Problem("a.b", "is wrong")) == "a.b: is wrong"
    assert str(Problem("", "is wrong")) == "configuration: is wrong"


def test_paths_name_the_way_to_the_value() -> None:
    top = Reader({"a": {"b": {"c": 1}}, "list": [{"d": 1}]})
    top.child("a").child("b").text("c", "")
    next(iter(top.items("list"))).text("d", "")
    assert [problem.path for problem in top.problems] == ["a.b.c", "list[0].d"]


def test_children_share_the_list_of_problems() -> None:
    top = Reader({"a": 1})
    assert top.child("a").problems is top.problems
    assert len(top.problems) == 1


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (3.0, 3), ("3", 3), (" 3.5 ", 3.5), ("1e2", 100), (0, 0), (None, 7), ("", 7)],
)
def test_numbers(value: object, number: float) -> None:
    found = reader(value)
    assert found.number("key", 7, least=0) == number
    assert not found.problems


@pytest.mark.parametrize("value", [True, "x", "inf", "nan", float("inf"), [], {}, -1, 10**400])
def test_what_is_no_number(value: object) -> None:
    found = reader(value)
    assert found.number("key", 7, least=0) == 7
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("No", False),
        ("on", True),
        (1, True),
        (0, False),
    ],
)
def test_booleans(value: object, answer: bool) -> None:
    for default in (True, False):
        found = reader(value)
        assert found.boolean("key", default=default) is answer
        assert not found.problems


@pytest.mark.parametrize("default", [True, False])
def test_a_boolean_that_is_absent_or_wrong_is_the_default(default: bool) -> None:
    assert reader(None).boolean("key", default=default) is default
    wrong = reader("perhaps")
    assert wrong.boolean("key", default=default) is default
    assert str(default).lower() in wrong.problems[0].message


def test_choices_are_compared_without_case() -> None:
    assert reader("bLUE").choice("key", Color) is Color.BLUE
    assert reader("").choice("key", Color) is None
    assert reader(None).choice("key", Color) is None
    wrong = reader("green")
    assert wrong.choice("key", Color) is None
    assert "Red, Blue" in wrong.problems[0].message


def test_the_first_of_several_is_the_default() -> None:
    assert reader(None).one_of("key", ("error", "continue")) == "error"
    assert reader("CONTINUE").one_of("key", ("error", "continue")) == "continue"
    wrong = reader("stop")
    assert wrong.one_of("key", ("error", "continue")) == "error"
    assert "error applies" in wrong.problems[0].message


def test_text_is_stripped_and_json_text_is_not_text() -> None:
    assert reader(" a ").text("key", "") == "a"
    assert reader("{thing}/x").text("key", "") == "{thing}/x"
    wrong = reader('{"a": 1}')
    assert wrong.text("key", "default") == "default"
    assert "must be a string" in wrong.problems[0].message


def test_lists_of_texts() -> None:
    assert reader(["a", " b "]).texts("key") == ("a", "b")
    assert reader('["a"]').texts("key") == ("a",)
    assert reader(None).texts("key") == ()


def test_entries_may_be_json_text_themselves() -> None:
    (entry,) = reader(['{"uri": "docker:a"}']).items("key")
    assert entry.text("uri", "") == "docker:a"


def test_bytes_are_no_list() -> None:
    found = reader(b"abc")
    assert list(found.items("key")) == []
    assert len(found.problems) == 1


def test_keys_that_are_data() -> None:
    assert Reader({"a": 1, "b": 2}).names() == ("a", "b")


def test_a_long_value_is_shortened_in_the_message() -> None:
    found = reader("x" * 10_000)
    found.number("key", 1, least=0)
    assert len(found.problems[0].message) < 200


def test_unknown_keys_are_compared_with_those_that_were_asked_for() -> None:
    found = Reader({"waitSecond": 1, "other": 2})
    found.number("waitSeconds", 1, least=0)
    found.ignore("other")
    found.report_unknown()
    (problem,) = found.problems
    assert problem.path == "waitSecond"
    assert "did you mean waitSeconds?" in problem.message
