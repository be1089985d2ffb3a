"""Rules about what a recipe depends on, and what its containers may do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockermgr import recipe as recipes
from dockermgr.lint.calls import Call
from dockermgr.lint.findings import Finding, Rule, Severity, finding
from dockermgr.lint.shell import Command
from dockermgr.lint.subject import MANAGER, Image, Origin, Script, Subject
from dockermgr.lint.words import Word
from dockermgr.passthrough import TES_URI, CannotPass, Feature, parse_service_features
from dockermgr.registry import RegistryKind, classify

TES = "aws.greengrass.TokenExchangeService"
STREAM_MANAGER = "aws.greengrass.StreamManager"

MISSING_TES = Rule("missing-token-exchange", Severity.ERROR, "The credentials' source is missing")
MISSING_MANAGER = Rule("missing-manager", Severity.ERROR, "The manager is no dependency")
MISSING_STREAM_MANAGER = Rule(
    "missing-stream-manager", Severity.ERROR, "Stream manager is no dependency"
)
MANAGER_IN_INSTALL = Rule(
    "manager-in-install", Severity.WARNING, "install does not wait for the manager"
)
MISSING_ACCESS_CONTROL = Rule(
    "missing-access-control", Severity.WARNING, "The container may publish nothing"
)

RULES = (
    MISSING_TES,
    MISSING_MANAGER,
    MISSING_STREAM_MANAGER,
    MANAGER_IN_INSTALL,
    MISSING_ACCESS_CONTROL,
)

_WORK = re.compile(r"/work/([A-Za-z0-9_.-]+)/+bin(?:/|\b)")
"""The manager's folder in a script; a build may have given the manager another name."""
_WANT = "add it under ComponentDependencies"


def check(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    if TES not in subject.dependencies:
        yield from _token_exchange(subject)
    yield from _manager(subject)
    for script in subject.scripts:
        for command, call in script.calls:
            if STREAM_MANAGER not in subject.dependencies:
                for word in _passing(call, Feature.STREAM_MANAGER):
                    yield script.finding(
                        MISSING_STREAM_MANAGER,
                        word,
                        f"--pass stream-manager needs {STREAM_MANAGER}, which may not run, or not yet",
                        f"{_WANT}: {STREAM_MANAGER}, HARD",
                    )
            if script.step.name in ("install", "bootstrap") and call.verb != "parse":
                yield script.finding(
                    MANAGER_IN_INSTALL,
                    command,
                    f"{script.step.name} does not wait for dependencies: at a first deployment the"
                    " command is not there yet",
                    "call it in run or startup",
                )
    if not _has_access_control(subject):
        for script in subject.scripts:
            for word in _ipc(script):
                yield script.finding(
                    MISSING_ACCESS_CONTROL,
                    word,
                    "the container gets Greengrass IPC, but without accessControl it may only read"
                    " configuration and report a state: publishing and subscribing are refused",
                    "write accessControl under DefaultConfiguration, with the topics that it uses",
                )


def _passing(call: Call, *features: Feature) -> Iterator[Word]:
    """The words with which `--pass` gives one of these."""
    for word in call.values("--pass"):
        try:
            given = parse_service_features(word.text)[1]
        except CannotPass:
            continue
        if set(features) & set(given):
            yield word


def _token_exchange(subject: Subject) -> Iterator[Finding]:
    mend = f"{_WANT}: {TES}, HARD"
    brought = {
        each.reference
        for each in subject.images
        if each.origin in (Origin.LISTED, Origin.ARTIFACT) and each.reference is not None
    }
    for image in subject.images:
        is_here = image.origin is not Origin.ARTIFACT and image.reference in brought
        if _is_pulled_for_component(image) and not is_here:
            yield finding(
                MISSING_TES,
                image.node,
                "an image of private Amazon ECR is pulled with AWS credentials, and this component has"
                f" none without {TES}",
                mend,
                offset=image.offset,
            )
    for script in subject.scripts:
        for word, what in _needs_credentials(script):
            yield script.finding(
                MISSING_TES,
                word,
                f"{what} needs AWS credentials, and there are none without {TES}",
                mend,
            )


def _is_pulled_for_component(image: Image) -> bool:
    """Images of `dockerImages` are pulled by the manager, with its own credentials."""
    if image.reference is None or image.is_never_pulled or image.origin is Origin.LISTED:
        return False
    return classify(image.reference.registry).kind is RegistryKind.ECR_PRIVATE


def _needs_credentials(script: Script) -> Iterator[tuple[Word | Command, str]]:
    for command, call in script.calls:
        for word in _passing(call, Feature.TES, Feature.TES_FORWARD):
            yield word, "--pass tes"
        places = call.words if call.verb == "load" else call.values("-f", "--file")
        for word in places:
            if word.text.startswith("s3://"):
                yield word, "a file in S3"
        if call.verb == "credentials" and [word.text for word in call.words[:1]] == ["install"]:
            yield command, "dockermgr credentials"
    for _, run in script.runs:
        for flag in ("env", "e"):
            for value, word in zip(run.values.get(flag, ()), run.words.get(flag, ()), strict=True):
                name, equals, given = value.partition("=")
                if name == TES_URI and (not equals or TES_URI in given):
                    yield word, name


def _manager(subject: Subject) -> Iterator[Finding]:
    names = {name for script in subject.scripts for name in _WORK.findall(script.node.text)} or {
        MANAGER
    }
    if names & subject.dependencies:
        return
    name = min(names)
    mend = f"{_WANT}: {name}, HARD"
    entry = recipes.configuration(subject.recipe)
    listed = entry.entry("dockerImages") if entry is not None else None
    if listed is not None and listed[1].items:
        yield finding(
            MISSING_MANAGER,
            listed[0],
            f"dockerImages is read by {name}, on which this component does not depend: it may start"
            " before its images are there",
            mend,
        )
    for script in subject.scripts:
        for command, _ in script.calls:
            yield script.finding(
                MISSING_MANAGER,
                command,
                f"dockermgr is a command of {name}, on which this component does not depend: it may not"
                " be there",
                mend,
            )


def _has_access_control(subject: Subject) -> bool:
    found = recipes.configuration(subject.recipe, "accessControl")
    return found is not None and bool(found.entries)


def _ipc(script: Script) -> Iterator[Word]:
    for _, call in script.calls:
        yield from _passing(call, Feature.IPC)
    for _, run in script.runs:
        for flag in ("env", "e"):
            for value, word in zip(run.values.get(flag, ()), run.words.get(flag, ()), strict=True):
                if value.partition("=")[0] == "SVCUID":
                    yield word
