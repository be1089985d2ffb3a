"""Rules of Greengrass nucleus lite, for what a recipe says is for it; and those of both nuclei that are near.

From Lite's sources: recipe.c (platforms, steps, time-outs), interpolation.c (variables),
unit_file_generator.c (dependencies), RECIPE_SUPPORT_CHANGES.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from dockermgr import recipe as recipes
from dockermgr.lint.findings import Finding, Nucleus, Rule, Severity, finding
from dockermgr.lint.keys import misspelt_keys
from dockermgr.lint.subject import Subject, says_lite
from dockermgr.nodes import Node

PLATFORM = Rule("lite-platform", Severity.WARNING, "Lite does not take this manifest")
ARCHITECTURE = Rule("architecture-name", Severity.ERROR, "No device has this architecture")
KEY_CASE = Rule("lite-key-case", Severity.ERROR, "Lite does not know the key in this case")
STEP = Rule("lite-step", Severity.WARNING, "Lite does not run this step")
TIMEOUT = Rule("timeout-number", Severity.ERROR, "The time-out is no number")
DEPENDENCY_TYPE = Rule("dependency-type", Severity.WARNING, "Lite does not order this dependency")
VERSION = Rule("version-requirement", Severity.WARNING, "Lite never matches it locally")
BRACES = Rule("lite-braces", Severity.ERROR, "Lite takes braces for a recipe variable")
CROSS_COMPONENT = Rule(
    "lite-cross-component", Severity.ERROR, "Lite knows no variables of other components"
)
UNKNOWN_VARIABLE = Rule("unknown-variable", Severity.ERROR, "No nucleus knows this variable")

RULES = (
    *(PLATFORM, ARCHITECTURE, KEY_CASE, STEP, TIMEOUT, DEPENDENCY_TYPE, VERSION, BRACES),
    *(CROSS_COMPONENT, UNKNOWN_VARIABLE),
)

_BRACES = re.compile(r"\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([.\w-]+):([^:{}]*)")
_CROSS = re.compile(r"([.\w-]+):([.\w-]+):([^:{}]*)")
"""As Java finds them (KernelConfigResolver.java)."""
_KEYS = {
    "artifacts": ("path", "decompressedPath"),
    "kernel": ("rootPath",),
    "iot": ("thingName",),
    "work": ("path",),
}
_CONFIGURATION = "configuration"
_KNOWN = (*(f"{{{space}:{key}}}" for space, keys in _KEYS.items() for key in keys),
          "{configuration:/key}")  # fmt: skip
_PLACEHOLDERS = frozenset({"COMPONENT_NAME", "COMPONENT_VERSION", "COMPONENT_AUTHOR"})
"""The GDK fills them in."""
_ARCHITECTURES = {
    **dict.fromkeys(("arm64", "armv8", "arm64v8"), "aarch64"),
    **dict.fromkeys(("x86_64", "x86-64", "x64"), "amd64"),
    **dict.fromkeys(("i386", "i686", "386"), "x86"),
    **dict.fromkeys(("armhf", "armv7", "armv7l", "armv6l", "arm32"), "arm"),
}


def check(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    if subject.options.nucleus is not Nucleus.JAVA:
        yield from _platforms(subject)
    for manifest in subject.manifests:
        node = manifest.find("Platform", "architecture")
        if node is not None and (meant := _ARCHITECTURES.get(node.text.lower())):
            yield finding(
                ARCHITECTURE,
                node,
                f"Greengrass does not call any device {node.text}, so no device takes this manifest",
                f"write {meant}",
            )
    yield from _steps(subject)
    yield from _variables(subject)
    severity = subject.for_lite(subject.manifests)
    if severity is not None:
        yield from _dependencies(subject)
        for key, known in misspelt_keys(
            subject.recipe, lambda manifest: subject.for_lite([manifest]) is not None
        ):
            yield finding(
                KEY_CASE,
                key,
                f"Lite heeds the case of keys and does not know {key.text}",
                f"write {known}",
                severity=severity,
            )


def _platforms(subject: Subject) -> Iterator[Finding]:
    """Manifests that Lite passes over, unless another one is there for the same devices."""
    is_certain = subject.options.nucleus is Nucleus.LITE
    for manifest in subject.manifests:
        os = manifest.find("Platform", "os")
        if not recipes.matches(os, "linux"):
            continue
        if says_lite(manifest):
            if os is not None and os.text in ("linux", "*", "all"):
                continue
            message = "Lite takes a manifest only with an os in full under Platform"
            severity, mend = Severity.ERROR, "write os: linux"
        elif subject.leaves_lite_open(manifest):
            message = "Lite passes over a manifest whose Platform has no runtime"
            severity = Severity.ERROR if is_certain else PLATFORM.severity
            mend = 'write runtime: "*" under Platform'
        else:
            continue
        node = manifest.find("Platform") or manifest
        yield finding(PLATFORM, node, message, mend, severity=severity)


def _steps(subject: Subject) -> Iterator[Finding]:
    seen: set[int] = set()
    for step in subject.steps:
        if id(step.key) in seen:
            continue
        seen.add(id(step.key))
        severity = subject.for_lite(step.manifests)
        if severity is not None and step.name in ("shutdown", "recover"):
            yield finding(
                STEP,
                step.key,
                f"Lite does not run {step.name}: components are stopped with SIGTERM there",
                "do it when the process gets SIGTERM; dockermgr run and dockermgr compose do",
            )
        timeout = step.value.find("Timeout")
        if timeout is None or re.fullmatch(r"\s*\d+", timeout.text):
            continue
        is_variable = timeout.text.startswith("{")
        if severity is not None or not is_variable:
            who = "Lite refuses" if is_variable else "no nucleus takes"
            yield finding(
                TIMEOUT,
                timeout,
                f"{who} a Timeout that is not a plain number of seconds",
                "write the number, as in Timeout: 300",
                severity=severity if is_variable else None,
            )


def _dependencies(subject: Subject) -> Iterator[Finding]:
    for name, about in recipes.dependencies(subject.recipe):
        if name.text in ("aws.greengrass.Nucleus", "aws.greengrass.NucleusLite"):
            continue  # which Lite leaves out itself
        kind = about.find("DependencyType")
        if kind is None or kind.text not in ("HARD", "SOFT"):
            yield finding(
                DEPENDENCY_TYPE,
                kind or name,
                "Lite starts a component after another only if DependencyType is written out"
                + (f", and takes {kind.text} for SOFT" if kind is not None else ""),
                "write DependencyType: HARD",
            )
        version = about.find("VersionRequirement")
        if version is not None and version.text.strip().startswith(("~", "^")):
            yield finding(
                VERSION,
                version,
                f"{version.text} never matches in Lite's local deployments",
                'write a range, as in ">=1.0.0 <2.0.0"',
            )


def _variables(subject: Subject) -> Iterator[Finding]:
    texts = [(each.node, subject.for_lite(each.step.manifests)) for each in subject.scripts]
    for manifest in subject.manifests:
        severity = subject.for_lite([manifest])
        texts += [(value, severity) for _, value in recipes.variables(manifest)]
    severity = subject.for_lite(subject.manifests)
    texts += [(value, severity) for _, value in recipes.variables(subject.recipe)]
    seen: set[int] = set()
    for node, severity in texts:
        if id(node) not in seen:
            seen.add(id(node))
            for found in _BRACES.finditer(node.text):
                yield from _braces(node, found, severity)


def _braces(node: Node, found: re.Match[str], lite: Severity | None) -> Iterator[Finding]:
    inner, text = found[1], found[0]
    # Not all of what is long: it may be anything, even a secret.
    shown = text if len(text) <= 24 and "\n" not in text else f"{text[:12].splitlines()[0]}…"
    variable, cross = _VARIABLE.fullmatch(inner), _CROSS.fullmatch(inner)
    if inner in _PLACEHOLDERS and not node.text[: found.start()].endswith("$"):
        return
    if found[2] and variable and _is_known(variable[1], variable[2]):
        return
    if found[2] and cross and _is_known(cross[2], cross[3]):
        if lite is not None:
            yield finding(
                CROSS_COMPONENT,
                node,
                f"Lite fails on {shown}: it fills in variables of the component itself only",
                "find the place otherwise: {kernel:rootPath}/work/<component> is the same on both nuclei",
                offset=found.start(),
                severity=lite,
            )
        return
    if found[2] and variable and _is_meant(variable[1]):
        yield finding(
            UNKNOWN_VARIABLE,
            node,
            f"there is no recipe variable {shown}",
            f"write one of {', '.join(_KNOWN)}",
            offset=found.start(),
        )
    elif lite is not None:
        yield finding(
            BRACES,
            node,
            f"Lite takes {shown} for a recipe variable, and fails on it",
            "write $NAME in place of a brace, or put this into a script file among the artifacts",
            offset=found.start(),
            severity=lite,
        )


def _is_known(space: str, key: str) -> bool:
    if space == _CONFIGURATION:
        return key.startswith("/") or not key
    return key in _KEYS.get(space, ())


def _is_meant(space: str) -> bool:
    """Whether a recipe variable was meant, and not shell or JSON."""
    known = (*_KEYS, _CONFIGURATION)
    return space in known or bool(get_close_matches(space, known, n=1, cutoff=0.8))
