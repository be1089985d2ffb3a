"""Commands of scripts, in the forms that recipes have, and in odd ones."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.lint.calls import docker_run, docker_words, dockermgr_call
from dockermgr.lint.shell import Command, commands
from dockermgr.lint.words import Word, tokens


def words(script: str) -> list[list[str]]:
    return [[word.text for word in command.words] for command in commands(script)]


def one(script: str) -> Command:
    (command,) = commands(script)
    return command


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("a b", [["a", "b"]]),
        ("a &&\n  b; c\nd|e & f", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("a \\\n  b # c\nd", [["a", "b"], ["d"]]),
        ("a 'b;c' \"d && e\" f\\ g h'i'\"j\"", [["a", "b;c", "d && e", "f g", "hij"]]),
        ('a "$(b "c d")" `e f` ${g:-h i} "k"', [["a", '$(b "c d")', "`e f`", "${g:-h i}", "k"]]),
        ("a > b 2>&1 < c >> d 2>/dev/null e", [["a", "e"]]),
        ("cat > f <<EOF\ndocker run x\nEOF\nb", [["cat"], ["b"]]),
        ("cat <<-'EOF' | b\n\tx\n\tEOF\nc", [["cat"], ["b"], ["c"]]),
        ("cat <<A <<B\na\nA\nb\nB\nc", [["cat"], ["c"]]),
        ("if a; then b; else c; fi", [["a"], ["b"], ["c"], ["fi"]]),
        ("while ! a; do (b); done", [["a"], ["b"], ["done"]]),
        ("X=1 Y='2 3' exec env Z=4 sudo -u root nice -n 5 timeout -k 1 60 a b", [["a", "b"]]),
        ("sudo -E env -i -u X Y=1 stdbuf -oL nohup -- a -b", [["a", "-b"]]),
        ("X=1", [[]]),
        (
            "a '{iot:thingName}' {artifacts:path}/x",
            [["a", "{iot:thingName}", "{artifacts:path}/x"]],
        ),
        ("a 'not closed", [["a", "not closed"]]),
        ("a $(not closed", [["a", "$(not closed"]]),
        ("", []),
    ],
)
def test_commands(script: str, found: list[list[str]]) -> None:
    assert words(script) == found


@given(st.lists(st.text("ab cd'\"\\#{}=é", min_size=1, max_size=8), min_size=1, max_size=6))
def test_what_the_shell_was_given_is_what_is_read(given_words: list[str]) -> None:
    """As Python's own quoting writes it."""
    found = list(tokens(shlex.join(["a", *given_words])))
    assert [word.text for word in found if isinstance(word, Word)] == ["a", *given_words]


@given(st.text("ab \t\n\\'\"`$(){};&|<>#-=EOF", max_size=60))
def test_no_script_is_too_odd(script: str) -> None:
    for command in commands(script):
        docker_words(command)
        docker_run(command)
        dockermgr_call(command)
        for word in command.words:
            assert 0 <= word.start <= len(script)


@given(st.text("ab$(){}\"'`\\ ", max_size=2000))
def test_long_scripts_are_read_in_one_go(script: str) -> None:
    commands(script * 20)


def test_where_words_stand() -> None:
    script = "a &&\n  exec  'b' \"c\""
    assert [script[word.start] for command in commands(script) for word in command.words] == [
        *("a", "'", '"')
    ]


@pytest.mark.parametrize(
    ("script", "is_alone"),
    [("a | b", False), ("b & wait", False), ("a; b", True), ("b", True), ("b |& a", False)],
)
def test_whether_a_command_is_alone(script: str, is_alone: bool) -> None:
    (command,) = (each for each in commands(script) if each.program == "b")
    assert command.is_alone is is_alone


@pytest.mark.parametrize(
    ("script", "verb", "rest"),
    [
        ("docker run a", "run", ["a"]),
        ("/usr/bin/docker -H tcp://x --debug container run a", "run", ["a"]),
        ("docker --context=x image pull a", "pull", ["a"]),
        ("docker compose -f x up -d", "compose up", ["-d"]),
        ("docker-compose --project-name p -f x down", "compose down", []),
        ("docker", "", []),
        ("podman run a", "", []),
    ],
)
def test_what_docker_is_told(script: str, verb: str, rest: list[str]) -> None:
    found, words_after = docker_words(one(script))
    assert (found, [word.text for word in words_after]) == (verb, rest)


def test_docker_run() -> None:
    run = docker_run(
        one("docker run -it --rm -e A=b --env=C --name n --init=false img:1 -x --init")
    )
    assert run is not None
    assert run.image is not None
    assert run.image.text == "img:1"
    assert (run.has("rm"), run.has("init"), run.has("detach")) == (True, False, False)
    assert [word.text for word in run.words["e"]] == ["A=b"]
    assert [word.text for word in run.words["env"]] == ["--env=C"]
    unknown = docker_run(one("docker run --rm $MORE img:1"))
    assert unknown is not None
    assert (unknown.image, unknown.is_whole) == (None, False)


def test_dockermgr() -> None:
    call = dockermgr_call(
        one("/x/bin/dockermgr -v run --pass ipc,tes --pass=work --policy Never docker:a -e B -- c")
    )
    assert call is not None
    assert call.verb == "run"
    assert [word.text for word in call.values("--pass")] == ["ipc,tes", "work"]
    assert [word.text for word in call.words] == ["docker:a", "-e", "B", "--", "c"]
    pull = dockermgr_call(one("dockermgr pull --json docker:a --timeout 5 docker:b"))
    assert pull is not None
    assert [word.text for word in pull.words] == ["docker:a", "docker:b"]
