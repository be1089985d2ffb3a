"""Says how the images are: on local topics at once, to AWS IoT Core at the pace that is configured."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dockermgr.config import StatusConfig
from dockermgr.image import ImageState, ImageUpdate
from dockermgr.ipc import NucleusLink
from dockermgr.reader import Problem
from dockermgr.reconcile import Wanted
from dockermgr.snapshot import SnapshotWriter
from dockermgr.status import EngineStatus, Message, Origin, image_message, summary_message

_FINAL = frozenset({ImageState.READY, ImageState.FAILED, ImageState.REMOVED})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who runs here."""

    component: str
    thing_name: str | None


class Reporter:
    """Owned by the service's loop."""

    def __init__(self, identity: Identity, link: NucleusLink, home: Path) -> None:
        self._identity = identity
        self._link = link
        self._config = StatusConfig()
        self._cloud: OrderedDict[str, Message] = OrderedDict()
        self._snapshot = SnapshotWriter(home)
        self._images: dict[Wanted, Message] = {}
        self._summary: Message = {}

    def configure(self, config: StatusConfig) -> None:
        """Counts from the next message on."""
        self._config = config

    @property
    def cloud_waits(self) -> bool:
        """Whether `send_to_cloud` has something to send."""
        return bool(self._cloud)

    def image(self, wanted: Wanted, update: ImageUpdate) -> None:
        """An image's state."""
        origin = Origin(self._identity.thing_name, wanted.component)
        message = self._images[wanted] = image_message(origin, wanted.uri, update, time.time())
        key = f"{wanted.component} {wanted.uri}"
        # Every change of state is said; of progress that waits to be sent, only the newest.
        step = f"{key} {update.state.value} {update.attempt}"
        self._link.publish(self._config.image_topic, message, key=step)
        if update.state in _FINAL:
            self._for_cloud(key, message)

    def summary(
        self, states: Iterable[ImageState], engine: EngineStatus, problems: Iterable[Problem]
    ) -> None:
        """How it is altogether."""
        origin = Origin(self._identity.thing_name, self._identity.component)
        message = self._summary = summary_message(origin, states, engine, problems, time.time())
        self._link.publish(self._config.topic, message, key="summary")
        self._for_cloud("summary", message)

    def forget(self, wanted: Wanted) -> None:
        """Nobody wants that image any more."""
        self._images.pop(wanted, None)

    def leave_word(self) -> None:
        """For `dockermgr status`."""
        self._snapshot.write(self._summary, self._images.values())

    def _for_cloud(self, key: str, message: Message) -> None:
        if self._config.iot_core_topic:
            self._cloud[key] = message

    def send_to_cloud(self) -> None:
        """Sends the message that waits longest; of each image, and of the summary, the newest one."""
        key, message = self._cloud.popitem(last=False)
        thing_name = self._identity.thing_name or "unknown"
        topic = self._config.iot_core_topic.replace("{thingName}", thing_name)
        if topic:
            self._link.publish_to_iot_core(topic, message, key=key)
