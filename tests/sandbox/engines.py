"""The engines that the device in a box can have, besides the machine's own Docker Engine.

They differ where a client notices: Docker 26.1 keeps images in containerd's store, as every new Docker
does from 29 on, with other ids, other progress and other error texts; Podman speaks Docker's API with
words of its own. `tools/engines.sh` gets both.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

from tests.sandbox import box
from tests.sandbox.engine import Engine
from tests.sandbox.processes import SYSTEM_PATH, SandboxError, require_programs

_DOCKER_26 = Path(__file__).resolve().parents[2] / "build" / "engines" / "docker-26"
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_PARENT = "libpod_parent"
"""Where Podman without systemd has its containers; version 4.3 knows no setting for it."""


class Variant(str, Enum):
    """One of the engines; the values are those of `pytest --engine`."""

    DOCKER = "docker"
    """The machine's own dockerd: on Debian 12 it is 20.10, with the classic image store."""
    DOCKER26 = "docker26"
    """Docker 26.1 with containerd's image store."""
    PODMAN = "podman"
    """Podman's service for clients of Docker."""

    def make(
        self,
        folder: Path,
        *,
        name: str,
        program: str,
        config: Mapping[str, object],
        flags: Sequence[str],
        environment: Mapping[str, str],
    ) -> Engine:
        """The engine, not started yet. Of dockerd's settings, Podman takes `data-root` only."""
        if self is Variant.PODMAN:
            return Podman(folder, name=name, config=config, environment=environment)
        kind = Docker26 if self is Variant.DOCKER26 else Engine
        return kind(
            folder, name=name, program=program, config=config, flags=flags, environment=environment
        )


def docker_26_path() -> str:
    """`PATH` with the programs of Docker 26.1 first: dockerd, its containerd and its shim, docker.

    Raises `SandboxError` when they are not there.
    """
    if not (_DOCKER_26 / "usr" / "sbin" / "dockerd").exists():
        raise SandboxError("The sandbox needs Docker 26.1: run `sh tools/engines.sh docker26`.")
    return f"{_DOCKER_26 / 'usr' / 'sbin'}:{_DOCKER_26 / 'usr' / 'bin'}:{SYSTEM_PATH}"


class Docker26(Engine):
    """A dockerd that keeps images in the store of its own containerd."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        program: str,
        config: Mapping[str, object],
        flags: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(
            folder,
            name=name,
            program=program,
            config={"features": {"containerd-snapshotter": True}, **config},
            flags=flags,
            environment={"PATH": docker_26_path(), **environment},
        )

    def remove_images(self) -> None:
        """Removes all containers and all images, also what pulls left that failed or were cut off."""
        super().remove_images()
        # The store would keep that for a day, or until it tidies up, to go on with it.
        if leases := self._ctr("leases", "list", "--quiet").split():
            self._ctr("leases", "delete", *leases)
        self._ctr("content", "prune", "references")

    def _ctr(self, *arguments: str) -> str:
        address = str(self._run_folder / "containerd" / "containerd.sock")
        return subprocess.run(
            ["ctr", "--address", address, "--namespace", "moby", *arguments],
            env={"PATH": docker_26_path()},
            check=True,
            capture_output=True,
            text=True,
        ).stdout


class Podman(Engine):
    """`podman system service`, with storage and settings of its own, where clients look for Docker.

    Short names mean Docker Hub, as Docker has it. It trusts the same files in `/etc/docker/certs.d`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        config: Mapping[str, object],
        environment: Mapping[str, str],
    ) -> None:
        try:
            require_programs("podman")
        except SandboxError:
            raise SandboxError(
                "The sandbox needs Podman: run `sudo sh tools/engines.sh podman`."
            ) from None
        self._settings = folder / "settings"
        super().__init__(
            folder,
            name=name,
            program="podman",
            config=config,
            environment={
                "CONTAINERS_CONF": str(self._settings / "containers.conf"),
                "CONTAINERS_REGISTRIES_CONF": str(self._settings / "registries.conf"),
                "CONTAINERS_STORAGE_CONF": str(self._settings / "storage.conf"),
                # It would download into the machine's /var/tmp.
                "TMPDIR": str(folder / "tmp"),
                **environment,
            },
        )

    def _command(self, program: str, flags: Sequence[str]) -> list[str]:
        return [program, "system", "service", "--time=0", self.host, *flags]

    def _write_config(self) -> None:
        self._settings.mkdir(exist_ok=True)
        (self._folder / "tmp").mkdir(exist_ok=True)
        files = {
            "storage.conf": [
                "[storage]",
                'driver = "overlay"',
                f'graphroot = "{self.config["data-root"]}"',
                f'runroot = "{self._run_folder / "storage"}"',
            ],
            "containers.conf": [
                "[engine]",
                f'tmp_dir = "{self._run_folder / "tmp"}"',
                # A sandbox has neither systemd nor its journal.
                'cgroup_manager = "cgroupfs"',
                'events_logger = "file"',
                "[containers]",
                'log_driver = "k8s-file"',
            ],
            "registries.conf": ['unqualified-search-registries = ["docker.io"]'],
        }
        for name, lines in files.items():
            (self._settings / name).write_text("\n".join([*lines, ""]))
        # There is no variable for this one; /etc is the sandbox's own.
        policy = Path("/etc/containers/policy.json")
        policy.parent.mkdir(exist_ok=True)
        policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))

    def _clean_up(self) -> None:
        # Podmans of the machine share the parent, so these go one by one.
        data = Path(str(self.config["data-root"]))
        for container in data.glob("overlay-containers/*"):
            for kind in ("libpod", "libpod-conmon"):
                box.remove_cgroups(f"/{_CGROUP_PARENT}/{kind}-{container.name}")
        others = [*_CGROUPS.glob(f"{_CGROUP_PARENT}/*"), *_CGROUPS.glob(f"*/{_CGROUP_PARENT}/*")]
        if not any(entry.name.startswith("libpod") for entry in others):
            box.remove_cgroups(f"/{_CGROUP_PARENT}")

    def lost_bridge(self) -> bool:
        """Never: it makes its bridge with the first container that needs one."""
        return False

    def tags(self) -> set[str]:
        """The names of all its images, as Docker writes them; Podman itself writes them out."""
        hub = ("docker.io/", "library/")
        return {functools.reduce(str.removeprefix, hub, tag) for tag in super().tags()}

    def remove_images(self) -> None:
        """Removes all containers and all images."""
        with self.client() as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                container.remove(force=True, v=True)
            # Podman 4.3 refuses Docker's way to prune every unused image (`dangling=false`).
            for image in client.api.images(quiet=True):
                client.api.remove_image(image, force=True)
