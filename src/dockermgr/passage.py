"""An archive on its way into the engine: looked at, summed, and held back at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from dockermgr.archive import END, Archive, Sieve
from dockermgr.compression import Tap, unpacked
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.stored import Stored
from dockermgr.watchdog import Watched


class LoadStream(Protocol):
    """One archive on its way into the engine."""

    def run(self, archive: Iterator[bytes]) -> Iterator[tuple[str, ...]]: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Passage:
    """One archive, once. The engine gets the end of it only when all of it has been found right."""

    def __init__(
        self,
        stored: Stored,
        *,
        sha256: str,
        stall_seconds: float,
        approve: Callable[[Archive], None],
        on_read: Callable[[int], None],
    ) -> None:
        """`approve` may raise when it is told what is in the archive; `on_read` is told how many bytes
        were read, and may raise as well."""
        self._stored = stored
        self._expected = sha256
        self._stall_seconds = stall_seconds
        self._approve = approve
        self._on_read = on_read
        self._tap = Tap(stored.chunks(), summed=bool(sha256))
        self._sieve = Sieve()
        self.complete = False
        """The engine has all of it."""

    @property
    def archive(self) -> Archive:
        """What is in it; known at its end."""
        return self._sieve.finish()

    def into(self, stream: LoadStream, watched: Watched) -> tuple[str, ...]:
        """Sends it. Returns the names and ids that the engine said it loaded.

        Raises what went wrong on this side, else what the engine said.
        """
        failure: Exception | None = None
        said: list[str] = []

        def body() -> Iterator[bytes]:
            nonlocal failure
            try:
                for data in self._approved():
                    self._expect_more(watched)
                    yield data
                    watched.expect_within(0, "")  # what is stored far away has limits of its own
            except Exception as error:  # noqa: BLE001  # raised below: the engine has its turn first
                failure = error
                yield self._sieve.spoiler
            else:
                self.complete = True
                yield END
            self._expect_more(watched)

        try:
            for names in stream.run(body()):
                self._expect_more(watched)
                said += names
        except DockermgrError as error:
            if failure is None:
                raise (_stalled(watched) if watched.expired else error) from error
        if failure is not None:
            raise failure
        return tuple(said)

    def _expect_more(self, watched: Watched) -> None:
        watched.expect_within(self._stall_seconds, "the engine to go on")

    def _approved(self) -> Iterator[bytes]:
        for data in unpacked(self._tap, self._stored.read_at(0, 4)):
            self._on_read(self._tap.count)
            if passes := self._sieve.feed(data):
                yield passes
        archive = self._sieve.finish()
        while self._tap.read():
            pass  # whatever stands behind it counts for the sum
        if self._tap.sha256 != self._expected:
            raise DockermgrError(
                ErrorCode.ARTIFACT_CHECKSUM_MISMATCH,
                f"the archive's SHA-256 is {self._tap.sha256}, not {self._expected}",
                hint="upload it again, or correct --sha256",
            )
        self._approve(archive)


def _stalled(watched: Watched) -> DockermgrError:
    return DockermgrError(
        ErrorCode.PULL_STALLED,
        f"waited {watched.limit_seconds:g} s for {watched.reason}",
        hint="see the engine's own log (journalctl -u docker)",
        retry=Retry.UNTIL_MENDED,
    )
