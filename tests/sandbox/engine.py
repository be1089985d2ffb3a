"""A private dockerd whose containers die with it, and it with this process."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import docker

from tests.sandbox import box
from tests.sandbox.processes import Process, SandboxError, child_of, send

_RUN = Path("/run")
_DEFAULT_BRIDGE = "docker0"
_NO_NETWORK = "Error initializing network controller"
"""What dockerd says when the kernel has no bridges or no NAT."""

_STOP_SECONDS = 30.0
"""dockerd gives containers 10 s of their own."""


class Engine:
    """A dockerd in process and mount namespaces of its own: to kill it is to reset the device.

    The one called `docker` has the paths that clients try by default, others have paths after their
    own name. With `{"bridge": "none", "iptables": False}` as `config` several run side by side.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "docker",
        program: str = "dockerd",
        config: Mapping[str, object] | None = None,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.socket = _RUN / f"{name}.sock"
        self.bridge = True
        """Whether it has the default bridge; without, containers use `--network host` or `none`."""
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._run_folder = _RUN / name
        self._pid_file = _RUN / f"{name}.pid"
        self._cgroup = box.cgroup_parent(name)
        self.config: dict[str, object] = {
            "hosts": [f"unix://{self.socket}"],
            "data-root": str(folder / "data"),
            "exec-root": str(self._run_folder),
            "pidfile": str(self._pid_file),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": self._cgroup,
            **(config or {}),
        }
        """The daemon.json that it gets at its next start."""
        own = name == "docker"
        self._config_file = Path("/etc/docker/daemon.json") if own else folder / "daemon.json"
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
        self.process = Process(
            f"engine {name}",
            [*unshare, *self._command(program, flags)],
            log=folder / "log",
            environment={"HOME": str(folder), **(environment or {})},
        )

    def _command(self, program: str, flags: Sequence[str]) -> list[str]:
        return [program, "--config-file", str(self._config_file), *flags]

    def _write_config(self) -> None:
        self._config_file.write_text(json.dumps(self.config, indent=2))

    @property
    def host(self) -> str:
        """As DOCKER_HOST has it."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """The process id of dockerd itself."""
        pid = child_of(self.process.pid)
        if pid is None:
            raise SandboxError(f"{self.process.name} does not run")
        return pid

    def start(self) -> None:
        """Starts it; `wait_ready` says when it answers. Nothing to do when it runs."""
        if self.process.running:
            return
        # As after a boot, where /run is empty. Otherwise a new dockerd would take some process of
        # its new process namespace for the old containerd, whose id it finds here.
        shutil.rmtree(self._run_folder, ignore_errors=True)
        self._pid_file.unlink(missing_ok=True)
        self._write_config()
        self.process.start()

    def wait_ready(self) -> None:
        """Returns when it answers; where this kernel has no networks for it, it runs without."""
        try:
            self.process.wait_ready(self.answers)
        except SandboxError:
            if not self.bridge or _NO_NETWORK not in self.process.log_text():
                raise
            self.bridge = False
            self.config.update({"bridge": "none", "iptables": False})
            self.start()
            self.process.wait_ready(self.answers)

    def answers(self) -> bool:
        """Whether it answers a ping."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(1024)
            except OSError:
                return False

    def lost_bridge(self) -> bool:
        """Whether another engine, that has none, took its default bridge away at its start."""
        own = self.bridge and self.config.get("bridge") is None
        return own and _DEFAULT_BRIDGE not in {name for _, name in socket.if_nameindex()}

    def stop(self) -> None:
        """SIGTERM, as `systemctl stop docker`: containers are stopped in order."""
        if self.process.running:
            send(self.pid, signal.SIGTERM)
        if not self.process.wait_ended(_STOP_SECONDS):
            self.kill()
        self._clean_up()

    def kill(self) -> None:
        """SIGKILL: engine and containers are gone at once. The socket's file stays, and refuses."""
        if self.process.running:
            pid = child_of(self.process.pid)
            if pid is not None:
                # The first process of its namespace: the kernel lets it go when it has killed the
                # others.
                send(pid, signal.SIGKILL)
                self.process.wait_ended(_STOP_SECONDS)
            self.process.kill()
        self._clean_up()

    def _clean_up(self) -> None:
        box.remove_cgroups(self._cgroup)

    def restart(self) -> None:
        """Stops and starts it, and waits until it answers."""
        self.stop()
        self.start()
        self.wait_ready()

    def pause(self) -> None:
        """SIGSTOP: it accepts connections, and nothing else happens until `resume`."""
        send(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a `pause`."""
        if self.process.running:
            send(self.pid, signal.SIGCONT)

    def log_text(self) -> str:
        """All that it has logged."""
        return self.process.log_text()

    @contextlib.contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """A client of the docker SDK."""
        client = docker.DockerClient(base_url=self.host)
        try:
            yield client
        finally:
            client.close()

    def tags(self) -> set[str]:
        """The names of all its images, as Docker writes them: `nginx:1`, not `docker.io/…`."""
        with self.client() as client:
            return {tag for image in client.images.list() for tag in image.tags}

    def remove_images(self) -> None:
        """Removes all containers and all images."""
        with self.client() as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                container.remove(force=True, v=True)
            client.images.prune(filters={"dangling": False})
