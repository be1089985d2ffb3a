"""The examples: their scripts, run as a nucleus runs them, with the built component beside them."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sandbox import python_image
from tests.sandbox.archives import SavedImage, archive
from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.demo import BUILD, PROJECT
from tests.sandbox.device import ECR_PUBLIC_HOST, OTHER_CREDENTIALS, OTHER_HOST, Device
from tests.sandbox.images import busybox_layer, push_image
from tests.sandbox.ipc import Dialect, PublishedMessage, StateReport
from tests.sandbox.processes import Process

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("artifacts")]

EXAMPLES = PROJECT / "examples"
WAIT_SECONDS = 60.0
SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:registry-AbCdEf"
STAYS = ("sh", "-c", "echo started; trap 'exit 0' TERM; while :; do sleep 0.1; done")
SERVES = ("sh", "-c", "mkdir /www; echo ok > /www/index.html; exec httpd -f -p 80 -h /www")


@pytest.fixture(params=list(Dialect), ids=lambda dialect: dialect.value)
def core(request: pytest.FixtureRequest, fresh_device: Device) -> Iterator[Core]:
    with Core(fresh_device, request.param) as made:
        yield made


@pytest.fixture
def java_core(fresh_device: Device) -> Iterator[Core]:
    """Where the dialects make no difference."""
    with Core(fresh_device, Dialect.JAVA) as made:
        yield made


@pytest.fixture
def lite_core(fresh_device: Device) -> Iterator[Core]:
    """Where the stricter one will do."""
    with Core(fresh_device, Dialect.LITE) as made:
        yield made


@contextlib.contextmanager
def manager(core: Core, merge: Mapping[str, Any] | None = None) -> Iterator[None]:
    """The built component, running."""
    (artifacts,) = (BUILD / "artifacts").glob("*/*")
    component = core.install(BUILD / "recipes" / "recipe.yaml", artifacts, merge=merge)
    with core.running(component, "startup") as process:
        try:
            core.ipc.wait_for(StateReport, lambda report: report.state == "RUNNING")
        except TimeoutError:
            raise AssertionError(process.log_text()) from None
        yield


def install(
    core: Core,
    tmp_path: Path,
    name: str,
    *images: SavedImage,
    merge: Mapping[str, Any] | None = None,
) -> InstalledComponent:
    """An example with its artifacts: files of its folder, and archives of the images in turn."""
    recipe = EXAMPLES / name / "recipe.yaml"
    archives = iter(images)
    artifacts = tmp_path / name
    artifacts.mkdir()
    for artifact in yaml.safe_load(recipe.read_text())["Manifests"][0].get("Artifacts", []):
        file = Path(artifact["Uri"]).name
        if file.endswith(".tar.gz"):
            content = packed(next(archives))
        else:
            content = (EXAMPLES / name / file).read_bytes()
        (artifacts / file).write_bytes(content)
    return core.install(recipe, artifacts, merge=merge)


@functools.lru_cache
def packed(image: SavedImage) -> bytes:
    """As `docker save | gzip` leaves it; once for both nuclei."""
    return gzip.compress(archive(image), 1)


def says(process: Process, text: str) -> None:
    """Waits until the running component has written this."""
    process.wait_ready(lambda: text in process.log_text(), WAIT_SECONDS)


def ended_well(process: Process) -> str:
    """Waits for the end; what was written until then."""
    assert process.wait_ended(WAIT_SECONDS), process.log_text()
    assert process.exit_code == 0, process.log_text()
    return process.log_text()


def running(core: Core) -> list[str]:
    """The names of the containers, of which none may be left when a component has ended."""
    with core.device.engine.client() as client:
        return sorted(str(container.name) for container in client.containers.list(all=True))


def test_compose_public_runs_images_of_public_ecr_and_docker_hub(
    java_core: Core, tmp_path: Path
) -> None:
    public = java_core.device.public
    push_image(public, "nginx/nginx", "1.27", command=STAYS)
    push_image(public, "library/redis", "7.4", command=STAYS)
    component = install(java_core, tmp_path, "compose-public")

    with manager(java_core):
        with java_core.running(component, "run") as process:
            process.wait_ready(lambda: process.log_text().count("started") == 2, WAIT_SECONDS)
            assert len(running(java_core)) == 2
        tags = java_core.device.engine.tags()

    assert tags == {f"{ECR_PUBLIC_HOST}/nginx/nginx:1.27", "redis:7.4"}
    assert running(java_core) == []


def test_private_ecr_runs_with_the_components_own_credentials(core: Core, tmp_path: Path) -> None:
    push_image(core.device.ecr, "sensors/reader", "1.0.0", command=STAYS)
    component = install(core, tmp_path, "private-ecr")

    with manager(core):
        with core.running(component, "run") as process:
            says(process, "started")
            assert running(core) == [component.name]
        (call,) = core.device.aws.calls("GetAuthorizationToken")

    assert call.access_key == core.tes.credentials.access_key_id
    assert running(core) == []


def test_image_archive_is_loaded_once(java_core: Core, tmp_path: Path) -> None:
    image = SavedImage(
        (busybox_layer(),), ("hello-world:1.0.0",), ("echo", "Hello from an archive")
    )
    component = install(java_core, tmp_path, "image-archive", image)

    with manager(java_core):
        with java_core.running(component, "run") as process:
            first = ended_well(process)
        with java_core.running(component, "run") as process:
            both = ended_well(process)

    assert "Hello from an archive" in first
    assert "Loaded: hello-world:1.0.0" in first
    assert "already there: hello-world:1.0.0" in both.removeprefix(first)
    assert java_core.device.public.requests() == []


def test_ipc_publish_sends_what_is_configured_to_iot_core(core: Core, tmp_path: Path) -> None:
    image = python_image.build(EXAMPLES / "ipc-publish" / "Dockerfile", "ipc-publish:1.0.0")
    configuration = {"message": 'It\'s "5" $HOME', "qos": 0}
    component = install(core, tmp_path, "ipc-publish", image, merge=configuration)
    with manager(core), core.running(component, "run") as process:
        says(process, "published to example/hello with QoS 0")

    (message,) = (m for m in core.ipc.published if m.component == component.name)
    assert (message.destination, message.topic, message.qos) == ("iotcore", "example/hello", 0)
    assert message.payload == b'It\'s "5" $HOME'
    assert running(core) == []


def test_list_buckets_uses_the_devices_credentials(core: Core, tmp_path: Path) -> None:
    device = core.device
    device.lead_to_aws("s3.us-east-1.amazonaws.com", "s3.amazonaws.com")
    for bucket in ("amzn-s3-demo-bucket", "amzn-s3-demo-bucket2"):
        device.aws.client("s3").create_bucket(Bucket=bucket)
    image = python_image.build(
        EXAMPLES / "list-buckets" / "Dockerfile",
        "list-buckets:1.0.0",
        python_image.trust_layer(device.authority.bundle),
    )
    component = install(core, tmp_path, "list-buckets", image)
    device.aws.reset()

    with manager(core), core.running(component, "run") as process:
        log = ended_well(process)

    assert "amzn-s3-demo-bucket\namzn-s3-demo-bucket2\n" in log
    assert "host's network" in log  # the warning
    (call,) = (call for call in device.aws.calls() if call.service == "s3")
    assert call.access_key == core.tes.credentials.access_key_id


@pytest.mark.parametrize("port", [None, 8099], ids=["default-port", "other-port"])
def test_stream_manager_gets_the_task_for_a_file_in_the_work_folder(
    fresh_device: Device, tmp_path: Path, port: int | None
) -> None:
    # The other port from the nucleus that makes a text of it.
    with Core(fresh_device, Dialect.LITE if port else Dialect.JAVA) as core:
        stream_file(core, tmp_path, port)


def stream_file(core: Core, tmp_path: Path, port: int | None) -> None:
    # It needs the SDK, which the other examples do without.
    from tests.sandbox.stream_manager import StreamManager

    image = python_image.build(EXAMPLES / "stream-manager" / "Dockerfile", "stream-file:1.0.0")
    component = install(core, tmp_path, "stream-manager", image, merge={"bucket": "the-bucket"})
    configuration = {"STREAM_MANAGER_SERVER_PORT": str(port)} if port else {}
    core.add_component("aws.greengrass.StreamManager", configuration=configuration)
    token = core.environment(component.name)["SVCUID"]

    with (
        StreamManager(port or 8088, {token}) as server,
        manager(core),
        core.running(component, "run") as process,
    ):
        ended_well(process)

    file = component.work / "measurements.txt"
    assert file.read_text().startswith("written at ")
    (task,) = server.tasks("ExampleFiles")
    assert task == {
        "inputUrl": file.as_uri(),
        "bucket": "the-bucket",
        "key": "example/measurements.txt",
    }


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)
def test_private_registry_with_a_secret_or_a_password_file(
    fresh_device: Device, tmp_path: Path, dialect: Dialect
) -> None:
    push_image(fresh_device.start_other_registry(), "team/app", "1.0.0", command=STAYS)
    java = dialect is Dialect.JAVA
    login = {"username": OTHER_CREDENTIALS.user, "password": OTHER_CREDENTIALS.password}
    file = "manager-configuration.json" if java else "manager-configuration-lite.json"
    configuration = json.loads((EXAMPLES / "private-registry" / file).read_text())
    if not java:
        password = Path(configuration["registries"][OTHER_HOST]["passwordFile"])
        password.parent.mkdir()  # in the sandbox's own /etc
        password.write_text(OTHER_CREDENTIALS.password)

    with Core(fresh_device, dialect, secrets={SECRET_ARN: json.dumps(login)}) as core:
        core.add_component("aws.greengrass.SecretManager")
        component = install(core, tmp_path, "private-registry")
        with manager(core, configuration), core.running(component, "run") as process:
            says(process, "started")
            assert running(core) == [component.name]


def test_compose_ipc_gives_ipc_to_one_service(lite_core: Core, tmp_path: Path) -> None:
    core = lite_core
    reporter = python_image.build(EXAMPLES / "compose-ipc" / "Dockerfile", "reporter:1")
    push_image(
        core.device.ecr, "web/reporter", "1.0.0", layers=reporter.layers, command=reporter.command
    )
    push_image(core.device.public, "nginx/nginx", "1.27", command=SERVES)
    component = install(core, tmp_path, "compose-ipc")

    with manager(core), core.running(component, "run"):
        core.ipc.wait_for(
            PublishedMessage,
            lambda m: m.topic == "example/web" and m.json() == {"status": 200},
            timeout_seconds=WAIT_SECONDS,
        )
        with core.device.engine.client() as client:
            with_token = [
                container.labels["com.docker.compose.service"]
                for container in client.containers.list()
                if any(text.startswith("SVCUID=") for text in container.attrs["Config"]["Env"])
            ]
    assert with_token == ["reporter"]
    assert running(core) == []
