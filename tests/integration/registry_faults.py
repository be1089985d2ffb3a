"""What the tests of faults between engine and registry share."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.integration.harness import IMAGE_TOPIC, Harness
from tests.sandbox.device import ECR_HOST
from tests.sandbox.faults.https import HttpsProxy
from tests.sandbox.faults.rules import Fault
from tests.sandbox.images import push_image, random_layer

IMAGE = f"docker:{ECR_HOST}/app/one:1"
QUICK: dict[str, Any] = {"retry": {"initialSeconds": 0.5, "maxSeconds": 1}}
OPTIONAL: dict[str, Any] = {"images": [{"uri": IMAGE, "required": False}], **QUICK}
"""The image may fail for good, and the service stays."""


def errors_of(harness: Harness) -> list[str]:
    """The codes that were reported, in order, each once in a row."""
    found: list[str] = []
    for message in harness.messages(IMAGE_TOPIC):
        if message["error"] is not None and found[-1:] != [message["error"]["code"]]:
            found.append(message["error"]["code"])
    return found


def pushed(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=[random_layer("one", 200_000)])


def https_between(harness: Harness, *faults: Fault) -> HttpsProxy:
    """The image is in the private ECR, and the faults before it."""
    pushed(harness)
    proxy = harness.device.put_https_between(harness.device.ecr)
    proxy.inject(*faults)
    return proxy


def moment(text: str) -> dt.datetime:
    """A time of a status message."""
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def announced_wait(message: dict[str, Any]) -> float:
    """The seconds from a message to the next attempt that it announces."""
    return (moment(message["retryAt"]) - moment(message["timestamp"])).total_seconds()
