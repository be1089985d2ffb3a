"""Commands of a script that are about containers: what `docker run` and `dockermgr` are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dockermgr.lint.shell import Command
from dockermgr.lint.words import Word
from dockermgr.run_arguments import docker_run_flags, is_on

_DOCKERS_VALUES = frozenset(
    {"-H", "--host", "-c", "--context", "--config", "-l", "--log-level", "--tlscacert", "--tlscert",
     "--tlskey"}
)  # fmt: skip
"""Docker's options before its command that have a value in the next word."""
_COMPOSES_VALUES = _DOCKERS_VALUES | {
    *("-f", "--file", "-p", "--project-name", "--profile", "--env-file", "--project-directory"),
    *("--ansi", "--parallel", "--progress"),
}
_OURS: Mapping[str, frozenset[str]] = {
    "run": frozenset({"--pass", "--policy", "--name"}),
    "pull": frozenset({"--policy", "--platform", "--timeout", "--recipe"}),
    "load": frozenset({"--sha256", "--tag", "--timeout"}),
    "compose": frozenset(
        {"-f", "--file", "-p", "--project-name", "--profile", "--env-file", "--pass", "--policy"}
    ),
}
"""The options of dockermgr's commands that have a value."""


@dataclass(frozen=True, slots=True)
class DockerRun:
    """A `docker run`. `values` is by flag; `is_whole` is false where a variable may hold more flags."""

    values: Mapping[str, Sequence[str]]
    words: Mapping[str, Sequence[Word]]
    """The words that have these values."""
    image: Word | None
    is_whole: bool = True

    def has(self, flag: str) -> bool:
        """Whether a flag without a value is on."""
        return is_on(self.values, flag)


@dataclass(frozen=True, slots=True)
class Call:
    """A `dockermgr`: its command, the options of that, and what follows."""

    verb: str
    options: Mapping[str, Sequence[Word]]
    words: Sequence[Word]

    def values(self, *options: str) -> list[Word]:
        """What these options were given."""
        return [word for option in options for word in self.options.get(option, ())]


def docker_words(command: Command) -> tuple[str, Sequence[Word]]:
    """Docker's command (`run`, `compose up`, `login`) and what follows it; empty if it is not docker."""
    if command.program == "docker-compose":
        rest = past_options(command.arguments, _COMPOSES_VALUES)
        return (f"compose {rest[0].text}", rest[1:]) if rest else ("", ())
    if command.program != "docker":
        return "", ()
    rest = past_options(command.arguments, _DOCKERS_VALUES)
    if rest and rest[0].text in ("container", "image"):
        rest = rest[1:]
    if rest and rest[0].text == "compose":
        rest = past_options(rest[1:], _COMPOSES_VALUES)
        return (f"compose {rest[0].text}", rest[1:]) if rest else ("", ())
    return (rest[0].text, rest[1:]) if rest else ("", ())


def past_options(words: Sequence[Word], valued: frozenset[str]) -> Sequence[Word]:
    """What follows the options; `valued` are those with a value in the next word."""
    at = 0
    while at < len(words) and words[at].text.startswith("-"):
        at += 2 if words[at].text in valued else 1
    return words[at:]


def docker_run(command: Command) -> DockerRun | None:
    """The `docker run` that this is."""
    verb, rest = docker_words(command)
    if verb != "run":
        return None
    values: dict[str, list[str]] = {}
    words: dict[str, list[Word]] = {}
    image, is_whole = None, True
    for begin, past, flag, value in docker_run_flags([word.text for word in rest]):
        if flag is not None:
            values.setdefault(flag, []).append(value)
            words.setdefault(flag, []).append(rest[max(begin, past - 1)])
        elif begin < len(rest):
            image = rest[begin] if past == begin else next(iter(rest[past:]), None)
    if image is not None and not image.is_literal and not image.is_quoted:
        # It may be an image, or more flags and no image yet.
        is_whole = image is rest[-1] and not image.text.startswith(("$", "`"))
        image = None
    return DockerRun(values, words, image, is_whole)


def dockermgr_call(command: Command) -> Call | None:
    """The call of dockermgr that this is."""
    if command.program != "dockermgr":
        return None
    rest = [*command.arguments]
    while rest and rest[0].text.startswith("-"):
        rest.pop(0)
    if not rest:
        return None
    verb = rest.pop(0).text
    options: dict[str, list[Word]] = {}
    words: list[Word] = []
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.text.partition("=")
        if not word.text.startswith("-"):
            words.append(word)
            if verb in ("run", "compose"):
                words += rest
                break
        elif equals and name.startswith("--"):
            at = word.start + len(name) + 1
            options.setdefault(name, []).append(
                Word(word.text[len(name) + 1 :], at, word.is_quoted)
            )
        elif name in _OURS.get(verb, ()) and rest:
            options.setdefault(name, []).append(rest.pop(0))
        else:
            options.setdefault(name, [])
    return Call(verb, options, words)
