"""`make demo`: the main job on real parts, printed as it happens.

A private engine, a registry that is a private ECR, a public one, TES, IPC and AWS; the built
component, started as a nucleus starts it; a dependent component whose container runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.device import ECR_HOST, Device
from tests.sandbox.images import large_image, push_image
from tests.sandbox.ipc import Dialect, PublishedMessage, StateReport
from tests.sandbox.processes import Process, SandboxError

PROJECT = Path(__file__).resolve().parents[2]
BUILD = PROJECT / "greengrass-build"
DEPENDENT = PROJECT / "examples" / "hello-container" / "recipe.yaml"

PRIVATE = f"docker:{ECR_HOST}/hello:1.0.0"
PUBLIC = "docker:public.ecr.aws/library/tool:1.27"
MISTYPED = "docker:pubilc.ecr.aws/library/tool:1.27"
_WIDTH = max(map(len, (PRIVATE, PUBLIC, MISTYPED)))
_TIMEOUT_SECONDS = 120.0


def main() -> int:
    """Runs the demonstration; 0 when everything happened as it should."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--dialect", type=Dialect, default=Dialect.JAVA, help="java or lite")
    dialect = parser.parse_args().dialect
    try:
        with Device() as device:
            say(
                f"The box is up: Docker Engine, private ECR, public registry, AWS ({device.folder})"
            )
            push_image(device.ecr, "hello", "1.0.0", layers=large_image())
            push_image(device.public, "library/tool", "1.27")
            with Core(device, dialect) as core:
                say(f"The nucleus is up: IPC and TES in the {dialect.value} dialect")
                return demonstrate(core)
    except SandboxError as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmake demo: stopped; everything it started is gone", file=sys.stderr)
        return 130


def demonstrate(core: Core) -> int:
    """Manager first, then the component that depends on it."""
    manager = install_manager(core)
    dependent = core.install(DEPENDENT)
    say(f"Starting {manager.name} {manager.version}: {manager.scripts['startup']}")
    with core.running(manager, "startup") as process:
        follow_until_running(core, process)
        say(f"RUNNING: starting {dependent.name}: {dependent.scripts['run']}")
        with core.running(dependent, "run") as container:
            ended = container.wait_ended(_TIMEOUT_SECONDS)
            print("\n".join(f"    {line}" for line in container.log_text().splitlines()))
        good = (
            ended and container.exit_code == 0 and "Hello from a container" in container.log_text()
        )
        good = summarize(core) and good
        began = time.monotonic()
        process.stop()
        say(f"SIGTERM ended the manager in {time.monotonic() - began:.1f} s")
    say("Everything happened as it should." if good else "That was NOT as it should be.")
    if not good:
        print(process.log_text(), file=sys.stderr)
    return 0 if good else 1


def install_manager(core: Core) -> InstalledComponent:
    """The built component, with a deployment's configuration."""
    recipe = BUILD / "recipes" / "recipe.yaml"
    if not recipe.exists():
        raise SandboxError("there is no built component: run `make build`")
    (artifacts,) = (BUILD / "artifacts").glob("*/*")
    return core.install(
        recipe,
        artifacts,
        merge={"images": [PRIVATE, PUBLIC, {"uri": MISTYPED, "required": False}]},
    )


def follow_until_running(core: Core, process: Process) -> None:
    """Prints messages as they come, until the manager reports RUNNING."""
    printed = 0
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        running = bool(core.ipc.states)
        records = core.ipc.records
        for record in records[printed:]:
            if isinstance(record, PublishedMessage):
                print(f"    {describe(record.json())}", flush=True)
            elif isinstance(record, StateReport):
                print(f"    UpdateState({record.state})", flush=True)
        printed = len(records)
        if running:
            return
        if not process.running:
            raise SandboxError(f"the manager ended:\n{process.log_tail()}")
        time.sleep(0.05)
    raise SandboxError(f"not RUNNING within {_TIMEOUT_SECONDS:.0f} s:\n{process.log_tail()}")


def describe(message: dict[str, Any]) -> str:
    """One status message in one line."""
    if "image" not in message:
        counts = ", ".join(f"{n} {state}" for state, n in message["counts"].items() if n)
        return f"dockermgr/status        {counts or 'no images'}"
    text = f"dockermgr/status/image  {message['image']:<{_WIDTH}}  {message['state']:<8}"
    if (progress := message["progress"]) is not None:
        megabytes = (
            f"{progress['downloadedBytes'] / 1e6:.1f} of {progress['totalBytes'] / 1e6:.1f} MB"
        )
        text += f"  {progress['stage']} {progress['percent']} % ({megabytes})"
    if message["error"] is not None:
        text += f"  {message['error']['code']}: {message['error']['hint']}"
    if message["digest"] is not None:
        text += f"  {message['digest'][:19]}…  {message['durationMs']} ms"
    return text


def summarize(core: Core) -> bool:
    """The figures that matter; whether they are the right ones."""
    device = core.device
    last = {
        message.json()["image"]: message.json()
        for message in core.ipc.published
        if message.topic == "dockermgr/status/image"
    }
    calls = device.aws.calls("GetAuthorizationToken")
    tokens = sum(call.service == "ecr" for call in calls)
    logins = sum(request.is_login for request in device.ecr.requests())
    say("Summary")
    for uri, message in last.items():
        print(f"    {message['state']:<8}  {uri}")
    print(f"    private ECR tokens asked for: {tokens}; logins at the private registry: {logins}")
    states = [last[uri]["state"] for uri in (PRIVATE, PUBLIC, MISTYPED)]
    right = states[:2] == ["READY", "READY"] and states[2] in {"RETRYING", "PULLING"}
    return right and tokens == logins == 1


def say(text: str) -> None:
    """A step of the demonstration."""
    print(f"\n==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
