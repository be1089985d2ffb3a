"""Rules about how scripts run containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dockermgr.lint.calls import docker_run, docker_words, dockermgr_call
from dockermgr.lint.findings import Finding, Rule, Severity
from dockermgr.lint.shell import Command
from dockermgr.lint.subject import Script, Subject
from dockermgr.lint.words import Word
from dockermgr.passthrough import CannotPass, parse_service_features
from dockermgr.run_arguments import WrongWords, docker_run_flags, read_words

MISSING_INIT = Rule("missing-init", Severity.WARNING, "The container may not heed SIGTERM")
MISSING_RM = Rule("missing-rm", Severity.WARNING, "The container stays when it has ended")
MISSING_EXEC = Rule("missing-exec", Severity.WARNING, "The shell stands in SIGTERM's way")
RUN_WORDS = Rule("run-words", Severity.ERROR, "dockermgr refuses these words")

RULES = (MISSING_INIT, MISSING_RM, MISSING_EXEC, RUN_WORDS)

_LASTING = ("run", "startup")


def check(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    removes = any(
        docker_words(command)[0] == "rm"
        for script in subject.scripts
        for command in script.commands
    )
    for script in subject.scripts:
        yield from _docker_runs(script, removes=removes)
        if script.step.name in _LASTING:
            yield from _without_exec(script)
        yield from _words(script)


def _docker_runs(script: Script, *, removes: bool) -> Iterator[Finding]:
    for command, run in script.runs:
        if not run.is_whole:
            continue
        if script.step.name in _LASTING and not run.has("init"):
            yield script.finding(
                MISSING_INIT,
                command,
                "docker run without --init: most programs ignore SIGTERM as process 1, so the component"
                " does not stop, and its container outlives it",
                "write docker run --init, or `dockermgr run`, which adds it",
            )
        restarts = run.values.get("restart", ["no"])[-1] != "no"  # which excludes --rm
        if not (run.has("rm") or restarts or removes):
            yield script.finding(
                MISSING_RM,
                command,
                "docker run without --rm: the container that has ended stays, takes disk, and keeps its"
                " name from the next one",
                "write docker run --rm, or `dockermgr run`, which adds it",
            )


def _without_exec(script: Script) -> Iterator[Finding]:
    """The last command of a script, where the nucleus's signal ends at the shell."""
    if not script.commands or any(command.program == "trap" for command in script.commands):
        return
    last = script.commands[-1]
    if last.has_exec or not last.is_alone or not _stays(last):
        return
    yield script.finding(
        MISSING_EXEC,
        last,
        "the shell stays in front of the container: SIGTERM may end the shell alone, and on Lite a"
        " startup that fails counts as ready",
        f"write exec {last.words[0].text}",
    )


def _stays(command: Command) -> bool:
    """Whether it is a container in the foreground."""
    run = docker_run(command)
    if run is not None:
        return run.is_whole and not (run.has("detach") or run.has("d"))
    verb, rest = docker_words(command)
    if verb == "compose up":
        return not {"-d", "--detach", "--wait", "--no-start"} & {word.text for word in rest}
    call = dockermgr_call(command)
    if call is None:
        return False
    return call.verb == "run" or (
        call.verb == "compose" and [word.text for word in call.words[:1]] == ["up"]
    )


def _words(script: Script) -> Iterator[Finding]:
    for command, call in script.calls:
        for word in call.values("--pass"):
            try:
                parse_service_features(word.text)
            except CannotPass as error:
                if word.is_literal:
                    yield _refused(script, command, "--pass ", error)
        words = [word.text for word in call.words]
        if call.verb == "run" and words and _is_whole(call.words):
            names = [word.text for word in call.values("--name")]
            try:
                read_words(words, names[-1] if names else None)
            except WrongWords as error:
                yield _refused(script, command, "", error)


def _is_whole(words: Sequence[Word]) -> bool:
    """Whether no variable before the command may be, or hold, a flag."""
    after = [word.text for word in words[1:]]
    for begin, past, flag, _ in docker_run_flags(after):
        if flag is None and past == begin:
            return words[1 + begin].is_literal
        if any(
            w.text.startswith(("$", "`")) and not w.is_quoted for w in words[1 + begin : 1 + past]
        ):
            return False
    return True


def _refused(script: Script, command: Command, what: str, error: ValueError) -> Finding:
    message = f"dockermgr refuses {what}{error}"
    cause, _, mend = message.rpartition("; ")
    if not cause:
        cause, _, mend = message.rpartition(": ")
    return script.finding(RUN_WORDS, command, cause, mend)
