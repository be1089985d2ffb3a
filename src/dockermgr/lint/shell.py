"""The commands of a shell script. Never fails, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dockermgr.lint.words import Word, tokens

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_OPENING = frozenset({"if", "then", "else", "elif", "while", "until", "do", "!", "{", "time"})
_PREFIXES: dict[str, frozenset[str]] = {
    "exec": frozenset({"-a"}),
    "command": frozenset(),
    "nohup": frozenset(),
    "sudo": frozenset({"-u", "-g", "-h", "-p", "-C", "-T", "-r", "-t", "-U", "-D", "-R"}),
    "env": frozenset({"-u", "-C", "-S"}),
    "nice": frozenset({"-n"}),
    "ionice": frozenset({"-c", "-n"}),
    "stdbuf": frozenset({"-i", "-o", "-e"}),
    "timeout": frozenset({"-k", "-s"}),
}
"""Programs that run another one, and which of their options have a value in the next word."""


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command. `program` is its name without a folder, empty for assignments alone."""

    words: tuple[Word, ...]
    """The program and its arguments, without assignments and without what only runs it (sudo, env)."""
    before: str
    """The operator in front of it, empty at the beginning."""
    after: str
    """The operator behind it, empty at the end."""
    has_exec: bool = False
    assignments: tuple[Word, ...] = ()

    @property
    def program(self) -> str:
        """The program's name; a path's last part."""
        return PurePosixPath(self.words[0].text).name if self.words else ""

    @property
    def arguments(self) -> tuple[Word, ...]:
        """What follows the program."""
        return self.words[1:]

    @property
    def start(self) -> int:
        """The offset of the program."""
        return self.words[0].start

    @property
    def is_alone(self) -> bool:
        """Neither in a pipeline nor in the background: the shell waits for it, and for nothing else."""
        return self.before not in ("|", "|&") and self.after not in ("|", "|&", "&")


def commands(script: str) -> tuple[Command, ...]:
    """The simple commands in their order; keywords such as `fi` count as commands of that name."""
    found = []
    words: list[Word] = []
    before = ""
    for token in (*tokens(script), None):
        if isinstance(token, Word):
            words.append(token)
            continue
        after = token.text if token is not None else ""
        if words and not (len(words) == 1 and words[0].text in _OPENING):
            found.append(_command(words, before, after))
            before = after
        elif after != "\n":
            before = after
        words = []
    return tuple(found)


def _command(words: Sequence[Word], before: str, after: str) -> Command:
    rest = list(words)
    has_exec = False
    assignments = []
    while rest:
        word = rest[0]
        if _ASSIGNMENT.match(word.text):
            assignments.append(rest.pop(0))
        elif word.text in _OPENING and len(rest) > 1:
            rest.pop(0)
        elif PurePosixPath(word.text).name in _PREFIXES and len(rest) > 1:
            name = PurePosixPath(rest.pop(0).text).name
            has_exec = has_exec or name == "exec"
            _drop_options(rest, _PREFIXES[name])
            if name == "timeout" and len(rest) > 1:
                rest.pop(0)
        else:
            break
    return Command(tuple(rest), before, after, has_exec, tuple(assignments))


def _drop_options(rest: list[Word], valued: frozenset[str]) -> None:
    while len(rest) > 1 and rest[0].text.startswith("-"):
        option = rest.pop(0).text
        if option in valued and len(rest) > 1:
            rest.pop(0)
        if option == "--":
            return
