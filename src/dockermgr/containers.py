"""The containers that `dockermgr run` starts, as their labels tell of them, and who supervises them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

COMPONENT_LABEL = "io.dockermgr.component"
VERSION_LABEL = "io.dockermgr.version"
SUPERVISOR_LABEL = "io.dockermgr.supervisor"
GRACE_SECONDS = 10
"""From the signal to SIGKILL. The Java nucleus kills a component's processes after 15 s."""


class ContainerError(Exception):
    """A container cannot be run; the message says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A process, told from all others that had or will have its id: by its start and the boot."""

    pid: int
    started: str
    """In clock ticks since the boot (proc(5), `/proc/pid/stat`, starttime)."""
    boot: str
    namespace: str
    """Of process ids: those of another one are not for us to judge."""

    @classmethod
    def this_process(cls) -> Supervisor:
        """Who we are; the same after an exec."""
        return cls(os.getpid(), _state_and_start(os.getpid())[1], *_here())

    @classmethod
    def read(cls, label: str) -> Supervisor | None:
        """From a label's text; None for one that we did not write."""
        pid, _, rest = label.partition(" ")
        parts = rest.split(" ")
        if not pid.isdecimal() or int(pid) == 0 or len(parts) != 3:
            return None
        return cls(int(pid), *parts)

    def __str__(self) -> str:
        """The label's text."""
        return f"{self.pid} {self.started} {self.boot} {self.namespace}"

    @property
    def is_near(self) -> bool:
        """Whether its id means here what it meant there."""
        return (self.boot, self.namespace) == _here()

    def is_alive(self) -> bool:
        """Whether it still runs. What cannot be known counts as alive."""
        boot, _ = _here()
        if self.boot != boot:
            return False
        if not self.is_near:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:  # another user's: it is there
            pass
        state, started = _state_and_start(self.pid)
        # Empty where /proc hides the processes of others (hidepid).
        return not started or (started == self.started and state not in {"Z", "X"})


@dataclass(frozen=True, slots=True)
class Container:
    """One of our containers, in the engine's words."""

    container_id: str
    name: str
    component: str
    state: str
    """`created`, `running`, `exited` and so on."""
    supervisor: Supervisor | None
    image: str = ""
    status: str = ""
    """For people: `Up 3 minutes`."""

    @property
    def is_orphan(self) -> bool:
        """Whether nobody supervises it any more."""
        return self.supervisor is not None and not self.supervisor.is_alive()


def component_version(component: str, work: Path) -> str:
    """The version by the component's artifacts; empty where they leave it open.

    No nucleus tells a component its own version; both keep `packages/artifacts/<name>/<version>`,
    two of them for as long as a deployment takes.
    """
    folder = work.parent.parent / "packages" / "artifacts" / component
    try:
        versions = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return versions[0] if len(versions) == 1 else ""


def _here() -> tuple[str, str]:
    """This boot and this namespace."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return boot, namespace


def _state_and_start(pid: int) -> tuple[str, str]:
    try:
        # The command, second and in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return "", ""
    return fields[0], fields[19]
