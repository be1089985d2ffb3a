"""What the engine is asked of containers and their network: beside `engine`, a user of the docker SDK."""

from __future__ import annotations

import time
from typing import Any

import docker
import docker.errors
from docker.types import IPAMConfig, IPAMPool

from dockermgr.containers import (
    COMPONENT_LABEL,
    GRACE_SECONDS,
    SUPERVISOR_LABEL,
    Container,
    ContainerError,
    Supervisor,
)
from dockermgr.engine import Engine
from dockermgr.passthrough import FORWARD_ADDRESS, FORWARD_NETWORK, FORWARD_SUBNET

REMOVAL_SECONDS = 30.0
"""Until a container that is being removed is gone, and its name free."""
_LOOK_AGAIN_SECONDS = 0.1


class Containers(Engine):
    """An engine, asked for what `dockermgr run` started on it."""

    def supervised(self) -> tuple[Container, ...]:
        """All of ours, also those that have ended."""
        filters = {"label": [SUPERVISOR_LABEL]}
        return tuple(
            Container(
                container_id=str(entry["Id"]),
                name=str((entry.get("Names") or [""])[0]).lstrip("/"),
                component=str(entry["Labels"].get(COMPONENT_LABEL, "")),
                state=str(entry.get("State", "")).lower(),
                supervisor=Supervisor.read(entry["Labels"][SUPERVISOR_LABEL]),
                image=str(entry.get("Image", "")),
                status=str(entry.get("Status", "")),
            )
            for entry in self._ask(lambda client: client.containers(all=True, filters=filters))
        )

    def stop(self, container: Container) -> None:
        """Stops it with its own signal, and kills it after the grace; one that is gone is no error."""

        def stop(client: docker.APIClient) -> None:
            try:
                client.stop(container.container_id, timeout=GRACE_SECONDS)
            except docker.errors.NotFound:
                return

        self._ask(stop)

    def remove(self, container: Container) -> None:
        """Kills and removes it; when this returns, its name is free. Raises ContainerError."""

        def is_gone(client: docker.APIClient) -> bool:
            try:
                client.remove_container(container.container_id, force=True)
            except docker.errors.NotFound:
                return True
            except docker.errors.APIError as error:
                if error.status_code != 409:  # `--rm` is at work on it
                    raise
            return False

        ends_at = time.monotonic() + REMOVAL_SECONDS
        while not self._ask(is_gone):
            if time.monotonic() > ends_at:
                raise ContainerError(
                    f"the engine does not get rid of {container.name};"
                    f" see: docker inspect {container.container_id[:12]}"
                )
            time.sleep(_LOOK_AGAIN_SECONDS)

    def ensure_forward_network(self) -> None:
        """Makes the network in which the host has `FORWARD_ADDRESS`, unless it is there."""
        pool = IPAMPool(subnet=FORWARD_SUBNET, gateway=FORWARD_ADDRESS)

        def ensure(client: docker.APIClient) -> None:
            found: list[dict[str, Any]] = client.networks(names=[FORWARD_NETWORK])
            if any(network["Name"] == FORWARD_NETWORK for network in found):
                return
            try:
                client.create_network(
                    FORWARD_NETWORK,
                    driver="bridge",
                    ipam=IPAMConfig(pool_configs=[pool]),
                    # Containers of several components are on it: they do not see each other.
                    options={"com.docker.network.bridge.enable_icc": "false"},
                    check_duplicate=True,
                )
            except docker.errors.APIError as error:
                if error.status_code != 409:  # another process was first
                    raise

        self._ask(ensure)
