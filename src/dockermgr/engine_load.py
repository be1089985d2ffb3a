"""What loading an archive takes of the Docker Engine; with `engine` the only user of the docker SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from dockermgr import classify
from dockermgr.engine import Engine
from dockermgr.engine_sdk import SDK_ERRORS, AbortableClient, error_text, from_sdk
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.reference import Reference

_LOADED = re.compile(r"Loaded image(?: ID|\(s\))?: (?P<names>.+)")


class LoadStream:
    """One archive on its way into the engine; `abort` ends it from any thread."""

    def __init__(self, base_url: str, api_version: str) -> None:
        self._client = _LoadingClient(base_url, api_version)

    def run(self, archive: Iterable[bytes]) -> Iterator[tuple[str, ...]]:
        """Sends all of `archive`, then yields with each event the names or ids that it says are loaded.

        Raises DOCKER_IMAGE_NOT_VALID with the engine's reason when it takes no such archive,
        DISK_SPACE_CRITICAL or an engine's code.
        """
        try:
            for event in self._client.load(archive):
                if text := error_text(event):
                    raise _from_engine(text)
                found = _LOADED.match(str(event.get("stream", "")))
                yield tuple(found["names"].strip().split(",")) if found else ()
        except SDK_ERRORS as error:
            raise from_sdk(error) from error

    def abort(self) -> None:
        """Shuts the connection down: a thread that waits for the engine gets an error at once."""
        self._client.abort()

    def close(self) -> None:
        """Gives the connection back to the system."""
        self._client.close()


class LoadingEngine(Engine):
    """An engine that archives are loaded into."""

    def load(self) -> LoadStream:
        """A new load, on a connection of its own so that it can be aborted alone."""
        return LoadStream(self.base_url, self._ask(lambda client: client.api_version))

    def tag(self, image_id: str, reference: Reference) -> None:
        """Gives an image one more name."""
        self._ask(lambda client: client.tag(image_id, reference.name, reference.effective_tag))


class _LoadingClient(AbortableClient):
    def load(self, archive: Iterable[bytes]) -> Iterator[Mapping[str, object]]:
        """The SDK's own `load_image` gives up after 60 s, and takes an error's status for success."""
        response = self.post(
            f"{self.base_url}/v{self.api_version}/images/load",
            data=archive,
            params={"quiet": "0"},
            headers={"Content-Type": "application/x-tar"},
            stream=True,
            timeout=None,
        )
        if not response.ok:
            raise _from_engine(f"HTTP {response.status_code}: {response.text}")
        for line in response.iter_lines():
            event = json.loads(line) if line else None
            if isinstance(event, dict):
                yield event


def _from_engine(text: str) -> DockermgrError:
    """Here the engine's words are about the archive, whatever they would mean in a pull."""
    error = classify.from_engine_text(text)
    if error.code is ErrorCode.DISK_SPACE_CRITICAL:
        return error
    return DockermgrError(
        ErrorCode.DOCKER_IMAGE_NOT_VALID,
        f"the engine cannot load the archive: {error.message}",
        hint="make it anew with docker save; the engine's own log (journalctl -u docker) has more",
    )
