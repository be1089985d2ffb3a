"""The Docker Engine: the only user of the docker SDK."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
import docker.utils.config

from dockermgr import classify, disk
from dockermgr.credentials import Credential
from dockermgr.engine_sdk import (
    SDK_ERRORS,
    AbortableClient,
    error_text,
    from_sdk,
    new_client,
)
from dockermgr.images import LocalImage, LocalImages
from dockermgr.proxies import Proxies
from dockermgr.reference import Reference

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
LOGIN_TIMEOUT_SECONDS = 90
"""For what makes the engine ask a registry; its own limits there are 15 s to 30 s, tried twice."""
HUB_LOGIN_ADDRESS = "https://index.docker.io/v1/"
"""What the engine knows Docker Hub's login by."""


CREATED = "create"
"""What the engine says of a new container, among the events of `Removals`."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself."""

    version: str
    data_root: str
    driver: str
    proxies: Proxies


class PullStream:
    """One pull under way: iterate over its events; `abort` ends it from any thread."""

    def __init__(self, base_url: str, api_version: str) -> None:
        self._client = AbortableClient(base_url, api_version)

    def events(
        self, reference: Reference, credential: Credential | None, platform: str | None
    ) -> Iterator[Mapping[str, object]]:
        """The engine's events, to the end. Raises a typed error for one that is or holds an error."""
        auth = _auth_config(reference.registry, credential) if credential else {}
        try:
            stream = self._client.pull(
                reference.familiar_name,
                tag=reference.pull_selector,
                stream=True,
                decode=True,
                auth_config=auth,
                platform=platform,
            )
            for event in stream:
                if isinstance(event, dict):
                    if text := error_text(event):
                        raise classify.from_engine_text(text)
                    yield event
        except SDK_ERRORS as error:
            raise from_sdk(error) from error

    def abort(self) -> None:
        """Shuts the connection down: a thread that waits for the engine gets an error at once."""
        self._client.abort()

    def close(self) -> None:
        """Gives the connection back to the system."""
        self._client.close()


class Removals:
    """Tells of removed images and names, and of new containers: iterate; `close` ends it from any thread."""

    def __init__(self, base_url: str, api_version: str) -> None:
        self._client = AbortableClient(base_url, api_version)

    def __iter__(self) -> Iterator[str]:
        """What happened, once each time. Ends, or raises DOCKER_SERVICE_UNAVAILABLE, with the engine."""
        filters = {"type": ["image", "container"], "event": ["delete", "untag", "remove", CREATED]}
        try:
            for event in self._client.events(decode=True, filters=filters):
                yield str(event.get("Action", ""))
        except SDK_ERRORS as error:
            raise from_sdk(error, query=True) from error

    def close(self) -> None:
        """Also wakes a thread that waits for the next event."""
        self._client.abort()
        self._client.close()


class Engine:
    """A Docker Engine at a socket. Every method raises `DockermgrError` and nothing else."""

    def __init__(self, base_url: str | None = None) -> None:
        # Not docker.from_env(): since 7.2 it follows the Docker CLI's context of whoever is logged in.
        self.base_url = base_url or os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET
        self._connected: docker.APIClient | None = None
        self._data_root: str | None = None

    def close(self) -> None:
        """Gives the connections back to the system; the next question opens new ones."""
        client, self._connected = self._connected, None
        if client is not None:
            client.close()

    def _client(self) -> docker.APIClient:
        """Connects at the first question, so that an engine that is away can be waited for."""
        if self._connected is None:
            self._connected = new_client(self.base_url, api_version="auto")
        return self._connected

    def info(self) -> EngineInfo:
        """Version, data root, storage driver and proxies."""
        answer = self._ask(lambda client: client.info())
        return EngineInfo(
            version=str(answer.get("ServerVersion", "")),
            data_root=str(answer.get("DockerRootDir", "")),
            driver=str(answer.get("Driver", "")),
            proxies=Proxies.of(
                str(answer.get("HttpsProxy") or ""), str(answer.get("NoProxy") or "")
            ),
        )

    def proxies(self) -> Proxies:
        """Those that it pulls through."""
        return self.info().proxies

    def platform(self) -> str:
        """`os/architecture` of the images that run here."""
        answer = self._ask(lambda client: client.version())
        return f"{answer.get('Os', 'linux')}/{answer.get('Arch', '')}".rstrip("/")

    def images(self) -> LocalImages:
        """Everything the engine holds, in one question."""
        return LocalImages(
            LocalImage(
                image_id=str(entry.get("Id", "")),
                size_bytes=int(entry.get("Size") or 0),
                tags=tuple(entry.get("RepoTags") or ()),
                repo_digests=tuple(entry.get("RepoDigests") or ()),
            )
            for entry in self._ask(lambda client: client.images())
        )

    def free_bytes(self) -> int | None:
        """Free space where the engine keeps images; None for an engine on another machine."""
        if not self.base_url.startswith("unix:"):
            return None
        if self._data_root is None:
            self._data_root = self.info().data_root
        return disk.free_bytes(self._data_root)

    def layer_chains(self) -> list[list[str]]:
        """The layers (diff ids) of each image, from the lowest up: one question per image."""
        chains = []
        for name in self._ask(lambda client: client.images(quiet=True)):
            image = self._ask(functools.partial(_inspect_or_none, name=name))
            if image is not None:
                chains.append(list(image["RootFS"].get("Layers") or ()))
        return chains

    def inspect(self, reference: Reference) -> LocalImage | None:
        """One image with its platform; None when the engine does not have it."""
        selector = f"@{reference.digest}" if reference.digest else f":{reference.effective_tag}"
        return self.find(reference.familiar_name + selector)

    def find(self, name: str) -> LocalImage | None:
        """The same by any name or id that the engine knows."""
        found = self._ask(lambda client: _inspect_or_none(client, name))
        if found is None:
            return None
        parts = [found.get("Os", ""), found.get("Architecture", ""), found.get("Variant", "")]
        return LocalImage(
            image_id=str(found.get("Id", "")),
            size_bytes=int(found.get("Size") or 0),
            tags=tuple(found.get("RepoTags") or ()),
            repo_digests=tuple(found.get("RepoDigests") or ()),
            platform="/".join(part for part in parts if part),
        )

    def untag(self, reference: Reference) -> None:
        """Takes a name off an image; the image goes with it when it has no other and is not in use."""
        selector = f"@{reference.digest}" if reference.digest else f":{reference.effective_tag}"
        self._ask(lambda client: client.remove_image(reference.familiar_name + selector))

    def login(self, host: str, credential: Credential) -> None:
        """Lets the engine try `credential` at the registry; keeps nothing on disk.

        Raises DOCKER_LOGIN_ERROR when the registry refuses it.
        """
        version = self._ask(lambda client: client.api_version)
        client = new_client(self.base_url, version, timeout_seconds=LOGIN_TIMEOUT_SECONDS)
        try:
            client.login(
                credential.username,
                credential.password,
                registry=_auth_config(host, credential)["serveraddress"],
                # The SDK would take a stored login of the same user for this one: ECR's is always AWS.
                reauth=True,
            )
        except SDK_ERRORS as error:
            raise classify.of_login(from_sdk(error)) from error
        finally:
            client.close()

    def removals(self) -> Removals:
        """A new watch for images that somebody removes."""
        return Removals(self.base_url, self._ask(lambda client: client.api_version))

    def pull(self) -> PullStream:
        """A new pull, on a connection of its own so that it can be aborted alone."""
        return PullStream(self.base_url, self._ask(lambda client: client.api_version))

    def _ask(self, question: Callable[[docker.APIClient], Any]) -> Any:
        try:
            return question(self._client())
        except SDK_ERRORS as error:
            # The engine may come back as another version: the next question asks which.
            self.close()
            raise from_sdk(error, query=True) from error


def _auth_config(host: str, credential: Credential) -> dict[str, str]:
    # An empty serveraddress would mean Docker Hub on engines with the containerd image store.
    address = HUB_LOGIN_ADDRESS if host == "docker.io" else host
    return {
        "username": credential.username,
        "password": credential.password,
        "serveraddress": address,
    }


def _inspect_or_none(client: Any, name: str) -> Any:
    try:
        return client.inspect_image(name)
    except docker.errors.ImageNotFound:
        return None
