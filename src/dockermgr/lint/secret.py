"""Secrets in recipes, which whoever may read the component's description in AWS can read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockermgr import recipe as recipes
from dockermgr.lint.calls import docker_words
from dockermgr.lint.findings import Finding, Rule, Severity, finding
from dockermgr.lint.subject import Script, Subject
from dockermgr.lint.words import Word
from dockermgr.nodes import Node

SECRET = Rule("secret-in-recipe", Severity.ERROR, "A secret stands in the recipe")

RULES = (SECRET,)

_KNOWN = (
    # IAM user guide, "IAM identifiers": AKIA and ASIA are access keys.
    ("an AWS access key", re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])")),
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/]{16}")),
    ("a password in a URL", re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@{}$<>]+:[^\s/@{}$<>]+@")),
)
_NAME = re.compile(
    r"(?:^|[_.-]|(?<=[a-z0-9]))(?:(?P<word>PASSWORD|PASSWD|PASSPHRASE|PWD)"
    r"|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|SECRET_?KEY|PRIVATE_?KEY)$",
    re.IGNORECASE,
)
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z]).{8,}|\d{8,}", re.DOTALL)
"""A secret, token or key that no human chose; `DB_SECRET: prod/db` is a name, `MAX_TOKEN: 500` a number."""
_NOT_SECRET = re.compile(
    r"true|false|yes|no|on|off|null|none|[./~].*|arn:.*|[a-z]+://.*|<.*>|.*[$`].*|.*\{[^{}\s]*\}.*",
    re.IGNORECASE | re.DOTALL,
)
"""Switches, paths, ARNs, addresses, and what is filled in later."""
_SHELLS_OWN = frozenset({"PWD", "OLDPWD"})
_MEND = (
    "keep it in AWS Secrets Manager (aws.greengrass.SecretManager) or in a file on the device, and"
    " change it: it has been written down"
)


def check(subject: Subject) -> Iterator[Finding]:
    """All of them; no secret is in a message."""
    for node in subject.recipe.scalars():
        for what, pattern in _KNOWN:
            for found in pattern.finditer(node.text):
                yield _found(node, f"this looks like {what}", found.start())
    for owner in (*subject.manifests, subject.recipe):
        for key, value in recipes.variables(owner):
            if _is_secret(key.text, value.text):
                yield _found(value, f"the value of {key.text} looks like a secret")
    for script in subject.scripts:
        for word, name in _in_script(script):
            yield _found(script.node, f"the value of {name} looks like a secret", word.start)


def _found(node: Node, message: str, offset: int | None = None) -> Finding:
    who = "whoever may read the recipe in AWS, or on the device, has it"
    return finding(SECRET, node, f"{message}: {who}", _MEND, offset=offset)


def _is_secret(name: str, value: str) -> bool:
    called = _NAME.search(name)
    value = value.strip()
    if called is None or name.upper() in _SHELLS_OWN or _NOT_SECRET.fullmatch(value):
        return False
    if any(pattern.search(value) for _, pattern in _KNOWN):
        return False  # said already
    return bool(value if called["word"] else _RANDOM.fullmatch(value))


def _in_script(script: Script) -> Iterator[tuple[Word, str]]:
    for command in script.commands:
        words = [*command.assignments]
        if command.program in ("export", "docker", "dockermgr"):
            words += command.arguments
        for word in words:
            name, equals, value = word.text.removeprefix("--env=").removeprefix("-e").partition("=")
            if equals and re.fullmatch(r"[A-Za-z_]\w*", name) and _is_secret(name, value):
                yield word, name
        if docker_words(command)[0] == "login":
            yield from _login(command.arguments)


def _login(words: tuple[Word, ...]) -> Iterator[tuple[Word, str]]:
    for flag, following in zip(words, (*words[1:], None), strict=True):
        name, equals, value = flag.text.partition("=")
        if name not in ("-p", "--password"):
            continue
        if not equals and following is not None:
            value = following.text
        if _is_secret("password", value):
            yield flag, "--password"
