"""The words and operators of a shell script, each with its place. Never fails, whatever is in it.

Not `shlex`: it tells neither where a word stands nor whether an operator was quoted, and knows no
here-documents. The grammar is POSIX's "Shell Command Language", 2.2 to 2.7, as far as finding commands
needs it; what is within `$(…)` or backquotes stays one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_OPERATOR = re.compile(r"&&|\|\||;;|\|&|&>>?|<<-|<<<|<<|<>|>>|>&|<&|>\||[;&|()<>\n]")
_REDIRECTIONS = frozenset({"&>", "&>>", "<<-", "<<<", "<<", "<>", ">>", ">&", "<&", ">|", "<", ">"})
_HERE_DOCUMENTS = frozenset({"<<", "<<-"})
_PLAIN = re.compile(r"[^\s\\'\"$`;&|()<>]+")
_SPACE = re.compile(r"(?:[^\S\n]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_EXPANSION = re.compile(r"[$`]|\{[^{}\s]*\}")
"""Of the shell, and of the nucleus: a recipe variable."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word, without its quotes; `start` is its offset in the script."""

    text: str
    start: int
    is_quoted: bool = False

    @property
    def is_literal(self) -> bool:
        """Whether it says all that it is: nothing in it is filled in later."""
        return _EXPANSION.search(self.text) is None


@dataclass(frozen=True, slots=True)
class Operator:
    """What separates commands, or leads their input or output elsewhere."""

    text: str
    start: int
    end: int

    @property
    def redirects(self) -> bool:
        """Whether a file's name, or a number, follows."""
        return self.text in _REDIRECTIONS


def tokens(script: str) -> Iterator[Word | Operator]:
    """Words and operators that separate commands; redirections are left out, with where they lead."""
    redirection: Operator | None = None
    held: Word | None = None
    for token in _all_tokens(script):
        if isinstance(token, Operator):
            # The number of a file, as in 2>&1.
            is_number = held and held.text.isdecimal() and _end_of(held) == token.start
            if held is not None and not (token.redirects and is_number):
                yield held
            held, redirection = None, token if token.redirects else None
            if redirection is None:
                yield token
        elif redirection is not None:
            redirection = None
        else:
            if held is not None:
                yield held
            held = token
    if held is not None:
        yield held


def _end_of(word: Word) -> int:
    return word.start + len(word.text)


def _all_tokens(script: str) -> Iterator[Word | Operator]:
    at = 0
    delimiter: Operator | None = None
    waiting: list[tuple[str, bool]] = []
    while at < len(script):
        if skipped := _SPACE.match(script, at) or _COMMENT.match(script, at):
            at = skipped.end()
            continue
        found = _OPERATOR.match(script, at)
        if found is None:
            word, at = _word(script, at)
            if delimiter is not None:
                waiting.append((word.text, delimiter.text == "<<-"))
                delimiter = None
            yield word
            continue
        operator = Operator(found[0], at, found.end())
        at = operator.end
        delimiter = operator if operator.text in _HERE_DOCUMENTS else None
        if operator.text == "\n":
            at = _past_documents(script, at, waiting)
            waiting = []
        yield operator


def _past_documents(script: str, at: int, waiting: Sequence[tuple[str, bool]]) -> int:
    for delimiter, tabs in waiting:
        while at < len(script):
            end = _end(script, "\n", at)
            line = script[at:end]
            at = min(end + 1, len(script))
            if (line.lstrip("\t") if tabs else line) == delimiter:
                break
    return at


def _word(script: str, at: int) -> tuple[Word, int]:
    start, parts, quoted = at, [], False
    while at < len(script):
        letter = script[at]
        if plain := _PLAIN.match(script, at):
            parts.append(plain[0])
            at = plain.end()
        elif letter == "\\":
            if script[at + 1 : at + 2] != "\n":
                parts.append(script[at + 1 : at + 2])
            at += 2
        elif letter == "'":
            quoted = True
            end = _end(script, "'", at + 1)
            parts.append(script[at + 1 : end])
            at = end + 1
        elif letter == '"':
            quoted = True
            text, at = _double_quoted(script, at + 1)
            parts.append(text)
        elif letter in "$`":
            end = _past_expansion(script, at)
            parts.append(script[at:end])
            at = end
        else:
            break
    return Word("".join(parts), start, quoted), min(at, len(script))


def _double_quoted(script: str, at: int) -> tuple[str, int]:
    parts = []
    while at < len(script) and script[at] != '"':
        end = at + 1
        if script[at] == "\\" and script[at + 1 : at + 2] in tuple('$`"\\\n'):
            end = at + 2
            parts.append(script[at + 1 : end].strip("\n"))
        else:
            if script[at] in "$`":
                end = _past_expansion(script, at)
            parts.append(script[at:end])
        at = end
    return "".join(parts), at + 1


def _past_expansion(script: str, at: int) -> int:
    """Where what begins with `$` or a backquote ends."""
    if script[at] == "`":
        return _end(script, "`", at + 1) + 1
    closing = {"(": ")", "{": "}"}.get(script[at + 1 : at + 2])
    if closing is None:
        return at + 1
    opening, depth, at = script[at + 1], 0, at + 1
    while at < len(script):
        letter = script[at]
        if letter == "\\":
            at += 1
        elif letter == "'":
            at = _end(script, "'", at + 1)
        elif letter == opening:
            depth += 1
        elif letter == closing:
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return len(script)


def _end(script: str, what: str, at: int) -> int:
    """Where `what` comes next; the script's end if it does not."""
    found = script.find(what, at)
    return found if found >= 0 else len(script)
