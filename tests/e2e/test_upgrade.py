"""From one version to the next and back, while a pull is under way and a container runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from dockermgr.state import FILE_NAME
from dockermgr.state_schema import SCHEMA_VERSION
from tests.e2e.conftest import NEXT_VERSION
from tests.e2e.deploying import COMMAND, MANAGED, MANAGER, component, containers, manager
from tests.sandbox.demo import PRIVATE, PUBLIC
from tests.sandbox.deployment import Deployer, Outcome, Part
from tests.sandbox.images import large_image, push_image
from tests.sandbox.ipc import PublishedMessage
from tests.sandbox.nucleus.states import State
from tests.sandbox.processes import alive
from tools.build import ROOT, code_version

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

VERSION = code_version(ROOT)
FOLLOWER = "com.example.Follower"
OTHER_VERSION = "0.0.9"
SLOW_BYTES_PER_SECOND = 1_000_000
LARGE = tuple(f"docker:public.ecr.aws/library/large-{number}:1" for number in (1, 2))


def follower(folder: Path) -> Part:
    """A HARD dependent whose every start notes which version the command belongs to."""
    script = f'"{COMMAND}" --version >> versions && exec sleep 3600'
    return component(folder, FOLLOWER, {"run": {"Script": script}})


def independent(folder: Path) -> Part:
    """Its container runs on, whatever the manager does: it has no HARD dependency."""
    script = f'exec "{COMMAND}" run --pass work {PUBLIC}'
    return component(folder, MANAGED, {"run": {"Script": script}}, needs=())


def runtimes(nucleus: Deployer) -> set[str]:
    """The versions that are unpacked."""
    folder = nucleus.core.root / "work" / MANAGER / "runtime"
    return {path.name.partition("-")[0] for path in folder.iterdir() if path.name[0] != "."}


def leave_runtime(nucleus: Deployer) -> None:
    """What a version served from later than this one: so this one is not kept for being the last."""
    folder = nucleus.core.root / "work" / MANAGER / "runtime" / f"{OTHER_VERSION}-0-cpython-311"
    folder.mkdir()
    (folder / ".complete").write_text(folder.name)


def state_of(nucleus: Deployer) -> tuple[int, list[str]]:
    """The number of the schema, and the images that are on record."""
    file = nucleus.core.root / "work" / MANAGER / FILE_NAME
    assert not file.with_name(f"{FILE_NAME}.damaged").exists()
    with closing(sqlite3.connect(file)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        rows = database.execute("SELECT DISTINCT reference FROM images ORDER BY reference")
        return version, [row[0].rpartition("/")[2] for row in rows]


def bytes_of(nucleus: Deployer, image: str) -> int:
    """How far the newest pull of it has come, as its manager says."""
    messages = [m.json() for m in nucleus.core.ipc.published if m.json().get("image") == image]
    progress = messages[-1]["progress"] if messages else None
    return int(progress["downloadedBytes"] or 0) if progress else 0


def deploy_while_pulling(nucleus: Deployer, image: str, parts: Sequence[Part]) -> None:
    """A deployment in the middle of a pull, over a slow line that is quick again afterwards."""
    device = nucleus.core.device
    line = device.put_between(device.public)
    line.bytes_per_second = SLOW_BYTES_PER_SECOND
    configured = nucleus.core.configuration(MANAGER)["images"]
    nucleus.core.ipc.update_configuration(MANAGER, {"images": [*configured, image]})
    nucleus.wait_until(lambda: bytes_of(nucleus, image) > 500_000, f"{image} is being pulled")
    before = len(nucleus.core.ipc.published)

    def pulls_again() -> bool:
        later = [m.json() for m in nucleus.core.ipc.published[before:]]
        return any(m.get("image") == image and m["state"] == "PULLING" for m in later)

    deployment = nucleus.begin(*parts)
    nucleus.wait_until(pulls_again, f"{image} is pulled by the other version")
    line.mend()
    assert deployment.result(60) is Outcome.SUCCEEDED
    nucleus.core.ipc.wait_for(
        PublishedMessage, lambda m: m.json().get("image") == image and m.json()["state"] == "READY"
    )


def test_an_upgrade_and_the_way_back_cost_neither_pull_nor_container_nor_state(
    nucleus: Deployer, next_version: Path, tmp_path: Path
) -> None:
    for number, image in enumerate(LARGE):
        name = image.removeprefix("docker:public.ecr.aws/").removesuffix(":1")
        layers = large_image(name, layers=2, layer_bytes=2_000_000)
        push_image(nucleus.core.device.public, name, "1", layers=layers, labels={"n": str(number)})
    others = follower(tmp_path), independent(tmp_path)
    # An independent component comes later: it waits for nobody, so not for the command either.
    assert nucleus.deploy(manager({"images": [PRIVATE]}), others[0]) is Outcome.SUCCEEDED
    assert nucleus.deploy(manager(), *others) is Outcome.SUCCEEDED
    nucleus.wait_until(lambda: MANAGED in containers(nucleus.core), "the container runs")
    running = containers(nucleus.core)
    supervisor = nucleus.life(MANAGED).process
    assert supervisor is not None
    leave_runtime(nucleus)

    deploy_while_pulling(nucleus, LARGE[0], [manager(build=next_version), *others])

    assert nucleus.life(MANAGER).component.version == NEXT_VERSION
    assert runtimes(nucleus) == {VERSION, NEXT_VERSION, OTHER_VERSION}
    assert state_of(nucleus) == (SCHEMA_VERSION + 1, ["hello:1.0.0", "large-1:1", "tool:1.27"])

    deploy_while_pulling(nucleus, LARGE[1], [manager(), *others])

    assert nucleus.life(MANAGER).component.version == VERSION
    assert state_of(nucleus) == (
        SCHEMA_VERSION + 1,
        ["hello:1.0.0", "large-1:1", "large-2:1", "tool:1.27"],
    )
    noted = nucleus.core.root / "work" / FOLLOWER / "versions"
    expected = "".join(f"dockermgr {each}\n" for each in (VERSION, NEXT_VERSION, VERSION))
    nucleus.wait_until(
        lambda: noted.read_text() == expected, f"each start finds its version: {noted}"
    )
    # All that time the same container, under the same process; and that still looks after it.
    assert containers(nucleus.core) == running
    assert alive(supervisor.pid)
    assert nucleus.transcript.states_of(MANAGED).count(State.STARTING) == 1
    nucleus.stop()
    assert nucleus.transcript.of(MANAGED)[-2:] == ["exit 0", "STOPPED"]
    assert containers(nucleus.core, everything=True) == {}
