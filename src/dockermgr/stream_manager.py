"""Where the stream manager listens: its own configuration says so."""

from __future__ import annotations

import logging
import threading

from dockermgr.ipc import CALL_TIMEOUT_SECONDS, NucleusLink
from dockermgr.nucleus import Listener, NucleusUnavailable
from dockermgr.passthrough import DEFAULT_STREAM_MANAGER_PORT, STREAM_MANAGER_PORT, CannotPass

COMPONENT = "aws.greengrass.StreamManager"

log = logging.getLogger(__name__)


def server_port() -> int:
    """Asks the nucleus, once; the default where nothing else is configured. Raises CannotPass."""
    connected = threading.Event()
    listener = Listener(connected.set, lambda _: None, lambda: None)
    try:
        link = NucleusLink(listener, status_request_topic="")
    except KeyError as error:
        raise CannotPass(
            f"--pass stream-manager: {error} is not set; run it from a script"
        ) from None
    link.start()
    try:
        connected.wait(CALL_TIMEOUT_SECONDS)
        value = link.get_configuration(COMPONENT, (STREAM_MANAGER_PORT,))
    except NucleusUnavailable as error:
        raise CannotPass(
            f"--pass stream-manager: the nucleus does not say where it listens: {error}"
        ) from error
    finally:
        link.stop(0)
    if value in (None, ""):
        return DEFAULT_STREAM_MANAGER_PORT
    try:
        return int(float(str(value)))  # numbers arrive as text from Lite, with a fraction from Java
    except ValueError:
        raise CannotPass(f"{COMPONENT}: {STREAM_MANAGER_PORT} is {value!r}, no port") from None
