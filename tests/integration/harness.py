"""Runs dockermgr from the source tree as users and nuclei run it: as a process, on a core device."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dockermgr import snapshot
from tests.sandbox.core import Core
from tests.sandbox.ipc import PublishedMessage
from tests.sandbox.processes import Process, wait_until
from tests.sandbox.secrets import SECRETS

PROJECT = Path(__file__).resolve().parents[2]
MANAGER = "io.dockermgr.DockerApplicationManager"
STATUS_TOPIC = "dockermgr/status"
IMAGE_TOPIC = "dockermgr/status/image"
COMMAND_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def messages(self) -> list[dict[str, Any]]:
        """The JSON objects on its standard output."""
        return [json.loads(line) for line in self.out.splitlines()]


def manager_access_control() -> dict[str, Any]:
    """What the recipe allows the manager: the tests give it no more."""
    text = (PROJECT / "recipe.yaml").read_text(encoding="utf-8")
    recipe = yaml.safe_load(text.replace("{COMPONENT_NAME}", MANAGER))
    allowed = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    assert isinstance(allowed, dict)
    return allowed


class Harness:
    """dockermgr on a core device."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.device = core.device
        self.ipc = core.ipc
        self.home = core.add_component(MANAGER, access_control=manager_access_control())

    def environment(self, **more: str) -> dict[str, str]:
        """The manager's environment, with the source tree in place of the built artifact."""
        variables = {
            **self.core.environment(MANAGER),
            "PYTHONPATH": str(PROJECT / "src"),
            "DOCKERMGR_HOME": str(self.home),
            **more,
        }
        SECRETS.add("the SVCUID in the environment", variables["SVCUID"])
        return variables

    def run(self, *arguments: str, **environment: str) -> Finished:
        """Runs a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "dockermgr", *arguments],
            env=self.environment(**environment),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        for place, text in (("output", done.stdout), ("complaints", done.stderr)):
            SECRETS.look(f"the {place} of dockermgr {arguments[0]}", text)
        return Finished(done.returncode, done.stdout, done.stderr)

    def process(self, *arguments: str, **environment: str) -> Process:
        """A command that is not started yet."""
        return Process(
            f"dockermgr {arguments[0]}",
            [sys.executable, "-m", "dockermgr", *arguments],
            log=self.core.root / "dockermgr.log",
            environment=self.environment(**environment),
            folder=self.home,
        )

    @contextlib.contextmanager
    def service(
        self, configuration: dict[str, Any] | None = None, **environment: str
    ) -> Iterator[Process]:
        """The running service; `configuration` is merged into its configuration before it starts."""
        if configuration is not None:
            self.ipc.update_configuration(MANAGER, configuration)
        process = self.process("serve", **environment)
        process.start()
        try:
            yield process
        finally:
            process.stop()

    def messages(self, topic: str) -> list[dict[str, Any]]:
        """What the manager has published on a topic so far."""
        return [message.json() for message in self.ipc.published if message.topic == topic]

    def wait_for_word(self) -> None:
        """Returns when the service has left word, for `dockermgr status`, of all it has published."""

        def is_left() -> bool:
            newest = self.messages(STATUS_TOPIC)[-1:] + self.messages(IMAGE_TOPIC)[-1:]
            word = snapshot.read_snapshot(self.home)
            said = (word.summary, *word.images) if word is not None else ()
            return all(message in said for message in newest)

        wait_until(is_left, "the word that the service leaves")

    def wait_for_image(self, image: str, state: str, *, count: int = 1) -> dict[str, Any]:
        """The `count`-th message that says this of the image, waiting for it."""

        def fits(message: PublishedMessage) -> bool:
            if message.topic != IMAGE_TOPIC:
                return False
            content = message.json()
            return (content["image"], content["state"]) == (image, state)

        return self.ipc.wait_for(PublishedMessage, fits, count=count).json()
