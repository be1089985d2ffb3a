"""A real registry, Debian's docker-registry, with TLS on an address of the sandbox."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import http.client
import itertools
import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from tests.sandbox.certificates import Certificate
from tests.sandbox.processes import Process, SandboxError, wait_until
from tests.sandbox.secrets import SECRETS

PORT = 443
_BCRYPT_ROUNDS = 4  # the least: the registry checks the password anew with every request
_HTTP_TIMEOUT_SECONDS = 60.0
_PROBE = "sandbox-probe"
_PUSH = "sandbox-push"
_ACCESS = re.compile(
    r'^\S+ - \S+ \[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" '
    r'(?P<status>\d{3}) \d+ "[^"]*" "(?P<agent>.*)"$',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry asks for."""

    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a registry's access log (its times are whole seconds)."""

    time: dt.datetime
    method: str
    path: str
    status: int
    user_agent: str

    @property
    def is_login(self) -> bool:
        """A successful check of credentials; meaningful where a password is asked for."""
        return self.method == "GET" and self.path == "/v2/" and self.status == 200

    @property
    def is_manifest(self) -> bool:
        """A manifest that was handed out."""
        return self.method == "GET" and "/manifests/" in self.path and self.status == 200

    @property
    def is_blob(self) -> bool:
        """A layer or an image configuration that was handed out."""
        return self.method == "GET" and "/blobs/" in self.path and self.status in (200, 206)


class Registry:
    """One registry that answers to several host names, at `address`:443.

    `credentials` may be changed while it runs: it reads its password file anew when that changes.
    """

    def __init__(
        self,
        names: Sequence[str],
        address: str,
        *,
        certificate: Certificate,
        folder: Path,
        credentials: Credentials | None = None,
    ) -> None:
        self.names = list(names)
        self.address = address
        self.certificate = certificate
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._credentials = credentials
        self._context = certificate.client_context()
        self._log_from = 0
        self._probes = itertools.count(1)
        configuration = folder / "config.yml"
        configuration.write_text(json.dumps(self._configuration()))  # JSON is YAML
        self.process = Process(
            f"registry {self.name}",
            ["docker-registry", "serve", str(configuration)],
            log=folder / "log",
        )
        if credentials is not None:
            self.credentials = credentials

    @property
    def name(self) -> str:
        """The first of its host names: the one that references to its images begin with."""
        return self.names[0]

    def _configuration(self) -> dict[str, object]:
        configuration: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "storage")},
                "delete": {"enabled": True},
            },
            "http": {
                "addr": f"{self.address}:{PORT}",
                "secret": "sandbox",
                "tls": {
                    "certificate": str(self.certificate.certificate),
                    "key": str(self.certificate.key),
                },
            },
        }
        if self._credentials is not None:
            passwords = {"realm": "sandbox", "path": str(self._folder / "htpasswd")}
            configuration["auth"] = {"htpasswd": passwords}
        return configuration

    @property
    def credentials(self) -> Credentials | None:
        """What it asks for; None for a registry without password."""
        return self._credentials

    @credentials.setter
    def credentials(self, credentials: Credentials) -> None:
        if self._credentials is None:
            raise SandboxError(f"{self.name} was made without a password")
        SECRETS.add(f"the password of {self.name}", credentials.password, lasting=True)
        self._credentials = credentials
        hashed = bcrypt.hashpw(credentials.password.encode(), bcrypt.gensalt(_BCRYPT_ROUNDS))
        (self._folder / "htpasswd").write_text(f"{credentials.user}:{hashed.decode()}\n")

    def start(self) -> None:
        """Starts it; `wait_ready` says when it serves. Nothing to do when it runs."""
        if not self.process.running:
            self.process.start()

    def wait_ready(self) -> None:
        """Returns when it accepts connections."""
        self.process.wait_ready(self._accepts)

    def stop(self) -> None:
        """Stops it at once: connections are cut, further ones refused. What it stores stays."""
        self.process.kill()

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self.address, PORT), timeout=1).close()
        except OSError:
            return False
        return True

    def requests(self) -> list[Request]:
        """All requests since the start or the last `forget_requests`, but not the sandbox's own."""
        self._settle_log()
        found = _ACCESS.finditer(self.process.log_text(), self._log_from)
        requests = [
            Request(
                time=dt.datetime.strptime(line["time"], "%d/%b/%Y:%H:%M:%S %z"),
                method=line["method"],
                path=line["path"],
                status=int(line["status"]),
                user_agent=line["agent"],
            )
            for line in found
        ]
        return [each for each in requests if not each.user_agent.startswith((_PROBE, _PUSH))]

    def forget_requests(self) -> None:
        """Starts the count of `requests` anew."""
        self._settle_log()
        self._log_from = len(self.process.log_text())

    def _settle_log(self) -> None:
        # A line is written when its answer is sent. Once that of a later request, on a new
        # connection, is there, all earlier ones are.
        if not self.process.running:
            return
        agent = f"{_PROBE}-{next(self._probes)}"
        self.http("GET", "/v2/", headers={"User-Agent": agent})
        wait_until(lambda: f'"{agent}"' in self.process.log_text(), f"the log of {self.name}")

    def http(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request with the registry's own credentials, past name server and proxies."""
        sent = {"User-Agent": _PUSH, **(headers or {})}
        if self._credentials is not None:
            login = f"{self._credentials.user}:{self._credentials.password}"
            sent["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        connection = http.client.HTTPSConnection(
            self.address, PORT, context=self._context, timeout=_HTTP_TIMEOUT_SECONDS
        )
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def put_blob(self, repository: str, blob: bytes) -> str:
        """Uploads a blob unless the repository has it, and returns its digest."""
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        there, _ = self.http("HEAD", f"/v2/{repository}/blobs/{digest}")
        if there.status == 200:
            return digest
        begun, text = self.http("POST", f"/v2/{repository}/blobs/uploads/")
        location = begun.headers["Location"]
        if begun.status != 202 or location is None:
            raise SandboxError(f"{self.name} takes no upload: {begun.status} {text!r}")
        # The location names the host that was asked for; only path and query matter here.
        path = re.sub(r"^https?://[^/]+", "", location)
        ended, text = self.http(
            "PUT", f"{path}&digest={digest}", blob, {"Content-Type": "application/octet-stream"}
        )
        if ended.status != 201:
            raise SandboxError(f"{self.name} refused a blob: {ended.status} {text!r}")
        return digest

    def put_manifest(
        self, repository: str, reference: str, manifest: bytes, media_type: str
    ) -> str:
        """Stores a manifest under a tag or digest and returns its digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        put, text = self.http("PUT", path, manifest, {"Content-Type": media_type})
        if put.status != 201:
            raise SandboxError(f"{self.name} refused a manifest: {put.status} {text!r}")
        return f"sha256:{hashlib.sha256(manifest).hexdigest()}"

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Removes a manifest with all its tags, as a registry's lifecycle rule does."""
        self.http("DELETE", f"/v2/{repository}/manifests/{digest}")
