"""Every secret that the sandbox gives out, and whether the product let one show.

What makes a secret adds it to `SECRETS`; who has something that the product wrote has it looked at.
`tests/secrecy.py` fails the test in which something was found. Findings name secret and place, never
the secret.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

LEAST_LENGTH = 8
"""A shorter secret could stand in an innocent sentence by chance: tests take longer ones."""

_ARTIFACT_FOLDERS = {"packages", "runtime"}
"""Of a Greengrass root and of the manager's home: the built files as they came, packed and unpacked."""

_ECR_TOKEN = re.compile(rb'"authorizationToken":\s*"([^"]+)"')


class Secrets:
    """What must not show, in every form in which it could; and where it did.

    Any thread may use it.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._lasting: set[str] = set()
        self._findings: dict[str, None] = {}

    def add(self, name: str, secret: str, *, lasting: bool = False) -> None:
        """From now on `secret` must not show, until `end_test` or, when it is `lasting`, for ever.

        What is lasting stays so, also when it is added by another name later.
        """
        if len(secret) < LEAST_LENGTH:
            raise ValueError(f"{name} has less than {LEAST_LENGTH} characters: take a longer one")
        if lasting:
            self._lasting.add(name)
        for form in _forms(secret):
            if lasting or self._names.get(form) not in self._lasting:
                self._names[form] = name

    def add_document(self, name: str, document: str | bytes) -> None:
        """A secret of Secrets Manager: the whole of it and, in JSON, its `password`."""
        text = document if isinstance(document, str) else document.decode("latin-1")
        self.add(name, text)
        if '"password"' in text:
            self.add(f"the password in {name}", str(json.loads(text)["password"]))

    def add_ecr_tokens(self, answer: bytes) -> None:
        """The tokens in an answer to GetAuthorizationToken: base64 of user name and password."""
        for token in _ECR_TOKEN.findall(answer):
            self.add("an ECR authorization token", token.decode())
            with contextlib.suppress(binascii.Error):  # a test's garbage
                login = base64.b64decode(token).decode("latin-1")
                self.add("the password of an ECR token", login.partition(":")[2])

    def names_in(self, written: bytes) -> list[str]:
        """The names of the secrets that show there."""
        known = list(self._names.items())
        return sorted({name for form, name in known if form in written})

    def look(self, place: str, written: str | bytes) -> None:
        """Keeps a finding for each secret that shows in what was written at that place."""
        data = written if isinstance(written, bytes) else written.encode(errors="replace")
        for name in self.names_in(data):
            self._findings[f"{name} in {place}"] = None

    def look_at_files(self, folder: Path) -> None:
        """Looks at names and content of all files below a folder, but for the built artifacts."""
        for file in folder.rglob("*"):
            path = file.relative_to(folder)
            if _ARTIFACT_FOLDERS.intersection(path.parts) or not file.is_file():
                continue
            self.look("the name of a file", str(path))
            place = "a file" if self.names_in(str(path).encode()) else str(path)
            with contextlib.suppress(OSError):
                self.look(place, file.read_bytes())

    def end_test(self) -> list[str]:
        """What was found since the last call. Secrets that are not lasting are forgotten."""
        found = list(self._findings)
        self._findings.clear()
        self._names = {form: n for form, n in self._names.items() if n in self._lasting}
        return found


def _forms(secret: str) -> Iterator[bytes]:
    """As it is, as JSON and URLs write it, and as base64 of any text that it is a part of."""
    for text in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        plain = text.encode()
        yield plain
        yield urllib.parse.quote(plain, safe="").encode()
        for before in range(3):
            # Base64 writes 3 bytes as 4 characters, so there are three ways to write what stands
            # inside. The characters at both ends depend on the neighbours as well.
            encoded = base64.b64encode(bytes(before) + plain)
            inside = encoded[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]
            yield inside
            yield inside.replace(b"+", b"-").replace(b"/", b"_")
            yield urllib.parse.quote(inside, safe="").encode()


SECRETS = Secrets()
"""Those of this process's sandbox."""
