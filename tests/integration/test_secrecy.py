"""A secret that shows in what the product writes is found, wherever it is. See `tests/secrecy.py`."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import shutil
from collections.abc import Callable

import pytest
from awsiot.greengrasscoreipc.model import UnauthorizedError

from dockermgr.state import PulledImage, State
from tests.integration.harness import MANAGER, STATUS_TOPIC, Harness
from tests.integration.sandbox_ipc.client import connected
from tests.sandbox.aws import ECR_PASSWORD
from tests.sandbox.core import Core
from tests.sandbox.device import ECR_HOST, Device
from tests.sandbox.faults.rules import BLOBS, Fault
from tests.sandbox.images import push_image, random_layer
from tests.sandbox.ipc import Dialect
from tests.sandbox.secrets import SECRETS


def _log(harness: Harness) -> str:
    process = harness.process("serve")
    process.arguments = ["sh", "-c", "echo token $SVCUID"]
    process.start()
    assert process.wait_ended(30)
    return "the SVCUID in the environment in dockermgr.log"


def _output(harness: Harness) -> str:
    harness.run("parse", f"docker:nginx:{harness.core.tes.credentials.access_key_id}")
    return "the access key id of TES in the output of dockermgr parse"


def _complaints(harness: Harness) -> str:
    key = harness.core.tes.rotate().secret_access_key
    harness.run("parse", f"docker:no good {key}")
    return "the secret access key of TES in the complaints of dockermgr parse"


def _local_message(harness: Harness) -> str:
    with connected(harness.ipc) as client:
        client.publish(STATUS_TOPIC, {"error": {"message": harness.core.tes.credentials.token}})
    return "the session token of TES in a request: PublishToTopic"


def _message_to_the_cloud(harness: Harness) -> str:
    payload = json.dumps({"message": f"signed in with {ECR_PASSWORD}"})
    with connected(harness.ipc) as client, contextlib.suppress(UnauthorizedError):
        client.ipc.publish_to_iot_core(topic_name="things/a", qos="1", payload=payload)
    return f"the password of {harness.device.ecr.name} in a request: PublishToIoTCore"


def _state_report(harness: Harness) -> str:
    with connected(harness.ipc) as client, contextlib.suppress(Exception):
        client.ipc.update_state(state=ECR_PASSWORD)
    return f"the password of {harness.device.ecr.name} in a request: UpdateState"


def _state_file(harness: Harness) -> str:
    image = PulledImage(f"docker.io/{ECR_PASSWORD}:1", MANAGER, "sha256:1", None, 1, 0.0)
    state = State(harness.home)
    state.record_pulled(image)
    state.close()
    return f"the password of {harness.device.ecr.name} in work/{MANAGER}/state.sqlite3"


def _open_state_file(harness: Harness) -> str:
    _OPEN.append(State(harness.home))
    image = PulledImage(f"docker.io/{ECR_PASSWORD}:1", MANAGER, "sha256:1", None, 1, 0.0)
    _OPEN[0].record_pulled(image)
    return f"the password of {harness.device.ecr.name} in work/{MANAGER}/state.sqlite3-wal"


def _lock_file(harness: Harness) -> str:
    (harness.home / "locks").mkdir()
    (harness.home / "locks" / ECR_PASSWORD).touch()
    return f"the password of {harness.device.ecr.name} in the name of a file"


def _engine_configuration(harness: Harness) -> str:
    folder = harness.device.folder / "home" / ".docker"
    folder.mkdir()
    auth = base64.b64encode(f"AWS:{ECR_PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {"some": {"auth": auth}}}))
    return f"the password of {harness.device.ecr.name} in .docker/config.json"


_OPEN: list[State] = []


@pytest.mark.parametrize(
    "leak",
    [
        _log,
        _output,
        _complaints,
        _local_message,
        _message_to_the_cloud,
        _state_report,
        _state_file,
        _open_state_file,
        _lock_file,
        _engine_configuration,
    ],
)
def test_a_secret_that_shows_is_found(fresh_device: Device, leak: Callable[[Harness], str]) -> None:
    with Core(fresh_device, Dialect.JAVA) as core:
        expected = leak(Harness(core))
    for state in _OPEN:
        state.close()
    _OPEN.clear()
    shutil.rmtree(fresh_device.folder / "home" / ".docker", ignore_errors=True)

    assert SECRETS.end_test() == [expected]


@pytest.mark.parametrize("fault", ["no name", "no answer"])
def test_the_signature_of_a_layers_address_does_not_show(harness: Harness, fault: str) -> None:
    """containerd's errors name the whole address. Should it show, the test ends with an error."""
    push_image(harness.device.ecr, "app/one", "1", layers=[random_layer(fault, 200_000)])
    proxy = harness.device.put_https_between(harness.device.ecr)
    proxy.redirects_blobs = True
    if fault == "no name":
        harness.device.dns.names.pop(proxy.blob_host)
    else:
        proxy.inject(Fault(BLOBS, host=proxy.blob_host, drop=True, times=math.inf))
    image = f"docker:{ECR_HOST}/app/one:1"

    with harness.service({"images": [image]}):
        error = harness.wait_for_image(image, "RETRYING")["error"]

    assert error["code"] == "NETWORK_ERROR"
    assert SECRETS.names_in(b"?X-Amz-Signature=sandbox") != []
