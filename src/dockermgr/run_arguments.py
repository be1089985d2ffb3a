"""The words after `dockermgr run`'s own options: image, flags of `docker run`, command. Pure.

Flags are read as Docker's own parser (pflag) reads them: which take a value decides where the next
one begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dockermgr.reference import URI_SCHEME

_WITHOUT_VALUE = frozenset(
    {
        "detach", "disable-content-trust", "help", "init", "interactive", "no-healthcheck",
        "oom-kill-disable", "privileged", "publish-all", "quiet", "read-only", "rm", "sig-proxy",
        "tty", "use-api-socket",
    }
)  # fmt: skip
"""The flags of `docker run` that take none (`docker run --help` of 20.10 to 28); all others do."""
_LONG = {"d": "detach", "i": "interactive", "t": "tty", "P": "publish-all", "q": "quiet"}
"""Those of them with one letter; every other letter takes a value."""
_SAME = {"net": "network"}
_NOT_CREATES = frozenset({"name", "detach", "detach-keys", "sig-proxy"})
"""We give the name; the rest is about docker's own attaching to a container, which is ours here."""
_NO = frozenset({"0", "f", "F", "false", "False", "FALSE"})


class WrongWords(ValueError):  # noqa: N818 - what it is says more than Error
    """What was written cannot be run; the message says what to write."""


@dataclass(frozen=True, slots=True)
class RunWords:
    """What to run. `flags` are as written, but for those that `docker create` does not know."""

    uri: str
    flags: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    name: str | None = None
    platform: str | None = None
    networks: tuple[str, ...] = ()
    kept: bool = False
    """`--rm=false`: the container is to be looked at when it has ended."""


def image_of(words: Sequence[str]) -> str:
    """The first word, unless the image stands further on, as `docker run` has it. Raises WrongWords."""
    if not words:
        raise WrongWords("no image; write docker: and the image, for example docker:nginx:1.27")
    first, *rest = words
    image = next((word for word in rest if word.lower().startswith(URI_SCHEME)), None)
    if image is not None and not first.lower().startswith(URI_SCHEME):
        raise WrongWords(f"{first!r} stands before the image: write {image} first, then its flags")
    return first


def read_words(words: Sequence[str], name: str | None = None) -> RunWords:
    """`URI [flags of docker run…] [-- command…]`; `name` was given before. Raises WrongWords."""
    uri, *rest = words
    end = len(rest)
    values: dict[str, list[str]] = {}
    flags: list[str] = []
    for begin, past, flag, value in docker_run_flags(rest):
        if flag is None and past == begin:
            raise WrongWords(f"{value!r} is no flag of docker run: write -- before the command")
        if flag is None:
            end = begin
            break
        values.setdefault(flag, []).append(value)
        if flag not in _NOT_CREATES:
            flags += rest[begin:past]
    names = set(values.get("name", [])) | ({name} if name else set())
    if len(names) > 1:
        raise WrongWords(f"two names, {' and '.join(sorted(names))}: write one")
    if is_on(values, "detach"):
        raise WrongWords(
            "-d: the nucleus supervises a component by its process, so the container stays in the"
            " foreground; remove it"
        )
    if values.get("restart", ["no"])[-1] != "no":
        raise WrongWords("--restart: the nucleus restarts the component itself; remove it")
    return RunWords(
        uri,
        tuple(flags),
        tuple(rest[end + 1 :]),
        name=next(iter(names), None),
        platform=values.get("platform", [None])[-1],
        networks=tuple(values.get("network", ())),
        kept="rm" in values and not is_on(values, "rm"),
    )


def is_on(values: Mapping[str, Sequence[str]], flag: str) -> bool:
    """Whether a flag without a value is given, and not as `=false`."""
    return flag in values and values[flag][-1] not in _NO


def docker_run_flags(rest: Sequence[str]) -> Iterator[tuple[int, int, str | None, str]]:
    """Each flag as first word, word past it, name, value.

    A name of None ends them: the `--`, or, without a length, a word that is no flag, as value. Of
    letters in one word, the last has the words: `-itp 80:80` is three flags.
    """
    at = 0
    while at < len(rest):
        word, begin = rest[at], at
        at += 1
        if word == "--":
            yield begin, at, None, ""
            return
        if not word.startswith("-") or word == "-":
            yield begin, begin, None, word
            return
        if word.startswith("--"):
            flag, equals, value = word[2:].partition("=")
            if not equals and flag not in _WITHOUT_VALUE:
                value = rest[at] if at < len(rest) else ""
                at += 1
            yield begin, min(at, len(rest)), _SAME.get(flag, flag), value
            continue
        letters = word[1:]
        while letters[0] in _LONG and letters[1:] and letters[1] != "=":
            yield begin, begin, _LONG[letters[0]], ""
            letters = letters[1:]
        letter, value = letters[0], letters[1:].removeprefix("=")
        if letter not in _LONG and not letters[1:]:
            value = rest[at] if at < len(rest) else ""
            at += 1
        yield begin, min(at, len(rest)), _LONG.get(letter, letter), value
