"""Puts the parts together: the one place that knows them all."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from dockermgr import tes
from dockermgr.credentials import Credentials, EcrTokens
from dockermgr.engine import Engine
from dockermgr.handover import taken_over
from dockermgr.image import ImageRequest
from dockermgr.images import LocalImage
from dockermgr.locks import ImageLocks
from dockermgr.proxies import Proxies
from dockermgr.puller import Memory, Puller
from dockermgr.state import PulledImage, State, home_folder
from dockermgr.token_process import TokenProcess


@dataclass(frozen=True, slots=True)
class Parts:
    """What pulling takes."""

    engine: Engine
    puller: Puller
    state: State
    tokens: TokenProcess
    credentials: Credentials


def assemble(component: str) -> Parts:
    """The parts of one process; nothing is contacted yet. `component`: for whom images are recorded."""
    engine = Engine()
    home = home_folder()
    state = State(home)
    tokens = TokenProcess()
    credentials = Credentials(
        EcrTokens(tokens), engine.login, public_tokens=tes.are_likely(os.environ)
    )

    def record(request: ImageRequest, image: LocalImage) -> None:
        state.record_pulled(
            PulledImage(
                reference=str(request.reference),
                component=request.component or component,
                image_id=image.image_id,
                digest=request.reference.digest or image.digest_of(request.reference),
                size_bytes=image.size_bytes,
                pulled_at=time.time(),
            )
        )

    memory = Memory(record, is_ours=state.is_ours, was_reached=state.was_reached)
    locks = ImageLocks(home / "locks")
    proxies = Proxies.of_environment(os.environ)
    puller = Puller(engine, credentials, memory, locks, proxies)
    return Parts(engine, puller, state, tokens, credentials)


def assemble_for_command(component: str) -> Parts:
    """As `assemble`, with the configuration that the service handed over.

    Raises COMPONENT_CONFIGURATION_NOT_VALID.
    """
    config = taken_over(home_folder())
    parts = assemble(component)
    parts.puller.configure(config)
    return parts


class Serving:
    """The service with its link to the nucleus."""

    def __init__(self, component: str, status_request_topic: str) -> None:
        from dockermgr.ipc import NucleusLink  # awscrt: 10 MB
        from dockermgr.nucleus import Listener
        from dockermgr.reporter import Identity
        from dockermgr.service import Service

        self._parts = parts = assemble(component)
        self._service = Service(
            Identity(component, os.environ.get("AWS_IOT_THING_NAME")),
            parts.engine,
            parts.puller,
            parts.state,
            home_folder(),
        )
        self._link = NucleusLink(
            Listener(
                connected=self._service.on_connected,
                configuration_changed=self._service.on_configuration_changed,
                status_requested=self._service.on_status_requested,
            ),
            status_request_topic=status_request_topic,
        )
        parts.credentials.use_secrets(self._link.get_secret)

    def run(self) -> int:
        """Serves until stopped; returns the exit code."""
        return self._service.run(self._link)

    def stop(self) -> None:
        """Ends `run` soon, from any thread: sets flags and wakes threads."""
        self._parts.tokens.stop()
        self._service.stop()
