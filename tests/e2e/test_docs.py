"""What docs/ tells operators to do, done with the built component."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockermgr.engine_containers import Containers
from dockermgr.passthrough import FORWARD_NETWORK
from tests.documents import block
from tests.e2e.test_component import wait_running
from tests.e2e.test_credential_helper import ALONE
from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.demo import BUILD, DEPENDENT, PRIVATE
from tests.sandbox.device import ECR_HOST, THING_NAME, Device
from tests.sandbox.images import push_image
from tests.sandbox.ipc import Dialect, PublishedMessage
from tests.sandbox.processes import SYSTEM_PATH

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

MANAGER = "io.dockermgr.DockerApplicationManager"


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def core(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Core]:
    push_image(fresh_device.ecr, "hello", "1.0.0")
    with Core(fresh_device, request.param) as made:
        yield made


def installed(core: Core, configuration: dict[str, object]) -> InstalledComponent:
    (artifacts,) = (BUILD / "artifacts").glob("*/*")
    return core.install(BUILD / "recipes" / "recipe.yaml", artifacts, merge=configuration)


def test_the_deployment_with_messages_to_the_cloud(core: Core) -> None:
    push_image(core.device.public, "nginx/nginx", "1.27")
    deployment = json.loads(block("installation.md", "json", "targetArn"))
    merge = json.loads(deployment["components"][MANAGER]["configurationUpdate"]["merge"])
    more = json.loads(block("installation.md", "json", "PublishToIoTCore"))
    core.install(DEPENDENT)
    manager = installed(core, {**merge, **more})

    with core.running(manager, "startup") as process:
        wait_running(core, process)
        message = core.ipc.wait_for(PublishedMessage, lambda m: m.destination == "iotcore")
        log = process.log_text()

    assert message.topic == f"fleet/{THING_NAME}/images"
    assert core.device.engine.tags() == {
        f"{ECR_HOST}/hello:1.0.0",
        "public.ecr.aws/nginx/nginx:1.27",
    }
    assert "WARNING" not in log


@pytest.mark.parametrize("core", [Dialect.JAVA], indirect=True)
def test_uninstalling_leaves_nothing(core: Core, tmp_path: Path) -> None:
    by_digest = push_image(core.device.public, "library/tool", "1", labels={"by": "digest"})
    digest = f"docker:public.ecr.aws/library/tool:1@{by_digest.manifest_digest}"
    manager = installed(core, {"images": [PRIVATE, digest]})
    with core.running(manager, "startup") as process:
        wait_running(core, process)
    Containers(core.device.engine.host).ensure_forward_network()
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    kept.mkdir()
    scripts = [
        f'HOME={home} "$BIN/dockermgr" credentials install {ECR_HOST}',
        "test -L /usr/local/bin/docker-credential-dockermgr",
        f"test -e {home}/.docker/config.json",
        block("operations.md", "sh", "credentials uninstall"),
        block("operations.md", "sh", "rm -rf"),
        "test ! -L /usr/local/bin/docker-credential-dockermgr",
    ]
    text = "\n".join(scripts).replace("sudo ", "")
    text = text.replace("/greengrass/v2", str(core.root)).replace("/home/ggc_user", str(home))

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", ALONE, "sh", text],
        env={
            **core.environment(MANAGER),
            "BIN": str(manager.work / "bin"),
            "KEPT": str(kept),
            "PATH": f"{SYSTEM_PATH}:{kept}",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert not manager.work.exists()
    assert not list(home.rglob("*.json"))
    with core.device.engine.client() as client:
        assert client.images.list(all=True) == []
        assert client.networks.list(names=[FORWARD_NETWORK]) == []
