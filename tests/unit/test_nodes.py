"""Nodes know where they stand, however they are written."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.nodes import Kind, Node, Place, ReadError, read

WORDS = st.text("ab{}$'\"\\:#é ", min_size=1, max_size=12)
SCRIPTS = st.lists(WORDS, min_size=1, max_size=5).map("\n".join)


def letter(text: str, place: Place) -> str:
    return text.split("\n")[place.line - 1][place.column - 1]


@given(script=SCRIPTS, style=st.sampled_from(["|", ">", "'", '"', None]), width=st.integers(20, 80))
def test_each_letter_of_a_string_is_found_in_the_file(
    script: str, style: str | None, width: int
) -> None:
    text = yaml.dump(
        {"a": {"Script": script}}, default_style=style, width=width, allow_unicode=True
    )
    node = read(text).find("a", "Script")
    assert node is not None
    assert node.text == script
    for offset, wanted in enumerate(script):
        if not wanted.isspace():
            there = letter(text, node.place_of(offset))
            assert there == wanted or (there == "\\" and wanted in "\\\"'")


@given(script=SCRIPTS)
def test_json_is_read_with_its_escapes(script: str) -> None:
    text = json.dumps({"a": [{"Script": script}]}, indent="\t")
    found = read(text, is_json=True).find("a")
    assert found is not None
    node = found.items[0].find("Script")
    assert node is not None
    assert node.text == script
    for offset, wanted in enumerate(script):
        if not wanted.isspace():
            assert letter(text, node.place_of(offset)) == (wanted if wanted not in 'é\\"' else "\\")


def test_lines_end_as_windows_ends_them() -> None:
    node = read("a: |\r\n  one\r\n  two\r\nb: c\r\n")
    assert [value.place for _, value in node.entries] == [Place(1, 4), Place(4, 4)]
    assert node.entries[0][1].place_of(4) == Place(3, 3)


def test_keys_are_found_in_any_case_but_their_own_comes_first() -> None:
    node = read("URI: a\nUri: b\nempty:\n")
    assert node.word("Uri") == "b"
    assert node.word("uri") == "b"
    assert node.find("empty") is None
    assert node.find("Uri", "below") is None


def test_plain_values_are_strings() -> None:
    node = read("a: [1, true, null, x: 1.50]\n<<: {b: c, a: merged}\nd: e\nd: f")
    assert node.plain() == {"a": ["1", "true", None, {"x": "1.50"}], "b": "c", "d": "f"}
    assert node.word("d") == "f"


def kinds(node: Node) -> list[Kind]:
    return [value.kind for _, value in node.entries]


def test_an_alias_is_the_node_that_it_names() -> None:
    node = read("a: &x {b: c}\nd: *x\ne: ~\n")
    assert kinds(node) == [Kind.MAP, Kind.MAP, Kind.NULL]
    assert node.entries[0][1] is node.entries[1][1]
    assert [each.text for each in node.scalars()] == ["c"]


@pytest.mark.parametrize(
    ("text", "is_json", "says"),
    [
        ("", False, "it is empty"),
        ("# only a comment\n", False, "it is empty"),
        ("a: b: c\n", False, "line 1, column 5: no YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", False, "line 2, column 1: no YAML: found character '\\t'"),
        ("a: 'b\n", False, "line 2, column 1: no YAML: found unexpected end of stream"),
        ("a: b\n---\nc: d\n", False, "line 2, column 1: no YAML: but found another document"),
        ("a: \x00\n", False, "line 1, column 4: no YAML: special characters are not allowed"),
        ("a: *b\n", False, "line 1, column 4: no YAML: found undefined alias 'b'"),
        ("a: &a [*a]\n", False, "line 1, column 4: an alias stands within what it names"),
        ("[" * 5000, False, "it is nested too deeply"),
        ('{"a": 1,}', True, "line 1, column "),
        ('{\n "a": // no\n 1}', True, "line 2, column 7: no JSON: Expecting value"),
        ("[" * 100_000, True, "it is nested too deeply"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, is_json: bool, says: str) -> None:
    with pytest.raises(ReadError) as caught:
        read(text, is_json=is_json)
    assert str(caught.value).startswith(says)


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ReadError, match="its aliases make it too large"):
        read("\n".join(lines))
