"""The walls of the sandbox: this process moves into network and mount namespaces of its own.

Every child it starts is inside as well, so a dockerd can use its default socket, `/etc/hosts` can
be anything, and the names of AWS can lead to this machine, while nothing of the host is touched.
There is no way back out for the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests.sandbox.processes import SYSTEM_PATH, SandboxError, alive, require_programs

NETWORK = "198.51.100"
"""TEST-NET-2, all of it on the loopback device: any address of it can be listened on.

Not 127.0.0.0/8: dockerd takes registries there for insecure and falls back to HTTP.
"""

NAMESERVER = f"{NETWORK}.53"
"""Also reachable from containers, whose resolv.conf dockerd strips of 127.0.0.0/8."""

_NAME = "dockermgr-sandbox"
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_TIMEOUT_SECONDS = 10.0
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"

_entered = False


def enter() -> None:
    """Moves this process into the sandbox's namespaces, once. Needs root and the main thread.

    Threads started before stay outside; so this comes first.
    """
    global _entered
    if _entered:
        return
    if os.geteuid() != 0:
        raise SandboxError(
            "The device in a box needs root, for namespaces of its own: use `make test`, "
            "`make demo` or sudo. Without root only `pytest tests/unit` runs."
        )
    if threading.current_thread() is not threading.main_thread():
        raise SandboxError(
            "The sandbox must be entered by the main thread: so all later threads are inside."
        )
    require_programs("mount", "ip", "setpriv", "unshare", "findmnt")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxError(
            f"This machine does not let root make namespaces ({reason}): "
            "use a virtual machine or a privileged container."
        )
    _entered = True
    _private_files()
    _run("ip", "link", "set", "lo", "up")
    connect()


def _private_files() -> None:
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/lock").mkdir()
    # A copy and not an overlay: the kernel stacks two overlays at most, too few for a sandbox
    # inside a sandbox inside a container.
    etc = Path("/run", _NAME, "etc")
    etc.parent.mkdir()
    _run("cp", "-a", "/etc", str(etc))
    _run("mount", "--bind", str(etc), "/etc")
    # An engine of the host may have settings and trusted registries there.
    Path("/etc/docker").mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/etc/docker")
    _write(Path("/etc/hosts"), _HOSTS)
    # One try of a second, where the default is two of five: tests of a silent name server wait
    # for it.
    _write(Path("/etc/resolv.conf"), f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")
    # Resolvers of the host (systemd-resolved, mDNS) must not answer.
    _write(Path("/etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # resolv.conf is often a symbolic link into /run
    path.write_text(text)


def add_host(name: str, address: str) -> None:
    """Adds a name to `/etc/hosts`.

    Go programs, dockerd among them, see the change up to 5 s later; names in `dns.py` count at
    once.
    """
    remove_host(name)
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write(f"{address} {name}\n")


def remove_host(name: str) -> None:
    """Removes what `add_host` added; with the same delay."""
    lines = Path("/etc/hosts").read_text().splitlines(keepends=True)
    Path("/etc/hosts").write_text("".join(line for line in lines if line.split()[1:] != [name]))


def connect() -> None:
    """Plugs the network in again: all of `NETWORK` is on the loopback device."""
    _run("ip", "address", "replace", f"{NETWORK}.1/24", "dev", "lo")


def disconnect() -> None:
    """Pulls the plug: name server and registries are `network is unreachable` until `connect`."""
    _run("ip", "address", "del", f"{NETWORK}.1/24", "dev", "lo")


def make_folder() -> Path:
    """A new temporary folder that names this process, after sweeping those of dead ones."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_NAME}-{os.getpid()}-"))
    # Containers run as other users and reach their files through here.
    folder.chmod(0o711)
    if _output("findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)) == "overlay":
        # Inside a container: an engine's layers cannot lie on the container's own.
        _run("mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", str(folder))
    return folder


def remove_folder(folder: Path) -> None:
    """Removes what `make_folder` made."""
    if os.path.ismount(folder):
        _run("umount", "--lazy", str(folder))
    shutil.rmtree(folder)


def cgroup_parent(name: str) -> str:
    """The cgroup for the containers of one engine, named after this process for `sweep`."""
    return f"/{_NAME}-{os.getpid()}/{name}"


def make_cgroup(name: str) -> Path:
    """A cgroup for processes that are to be found again; any hierarchy will do for that."""
    for hierarchy in _hierarchies():
        if (hierarchy / "cgroup.procs").exists():
            made = hierarchy / cgroup_parent(name).lstrip("/")
            made.mkdir(parents=True, exist_ok=True)
            return made
    raise SandboxError("This machine has no cgroups.")


def remove_cgroups(parent: str | None = None) -> None:
    """Removes a cgroup that `cgroup_parent` named, by default all of this process."""
    relative = (parent or f"/{_NAME}-{os.getpid()}").lstrip("/")
    for hierarchy in _hierarchies():
        _remove_cgroup(hierarchy / relative)


def _hierarchies() -> list[Path]:
    # cgroup v2 is mounted at the top; v1 has a hierarchy for each controller below.
    return [_CGROUPS, *_CGROUPS.glob("*/")]


def _remove_cgroup(top: Path) -> None:
    """Gives up in the end: an empty cgroup harms nobody, and `sweep` comes by again."""
    deadline = time.monotonic() + _CGROUP_TIMEOUT_SECONDS
    while top.is_dir() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(top, topdown=False):
            # Busy until the kernel has buried the last killed process of it.
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        time.sleep(0.01)


def sweep() -> None:
    """Removes what killed sandboxes left: folders and cgroups that name a dead process."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_NAME}-*-*"):
        # A folder of someone else's in the common temporary folder is not ours to remove.
        if _is_dead(folder.name) and folder.lstat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)
    for hierarchy in _hierarchies():
        for cgroup in hierarchy.glob(f"{_NAME}-*"):
            if _is_dead(cgroup.name):
                _remove_cgroup(cgroup)


def _is_dead(name: str) -> bool:
    pid = name.removeprefix(f"{_NAME}-").partition("-")[0]
    return pid.isdigit() and not alive(int(pid))


def _run(*arguments: str) -> None:
    _output(*arguments)


def _output(*arguments: str) -> str:
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
        check=False,
    )
    if done.returncode != 0:
        raise SandboxError(f"`{' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()
