"""`dockermgr pull` against a real engine, real registries, TES and AWS."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from dockermgr import disk
from dockermgr.state import State
from tests.integration.harness import Harness
from tests.sandbox.device import ECR_HOST
from tests.sandbox.images import (
    Platform,
    large_image,
    push_image,
    push_multi_platform,
    random_layer,
    small_image,
)
from tests.sandbox.registry import Credentials
from tests.sandbox.tes import TesFault

pytestmark = pytest.mark.timeout(120)


def free_bytes(harness: Harness) -> int:
    with harness.device.engine.client() as client:
        found = disk.free_bytes(client.info()["DockerRootDir"])
    assert found is not None
    return found


def test_five_images_of_one_ecr_registry_cost_one_token_and_one_login(harness: Harness) -> None:
    for number in range(5):
        push_image(harness.device.ecr, f"app/n{number}", "1", layers=[random_layer(number, 50_000)])

    done = harness.run("pull", *(f"docker:{ECR_HOST}/app/n{number}:1" for number in range(5)))

    assert done.code == 0, done.err
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 1
    requests = harness.device.ecr.requests()
    assert sum(request.is_login for request in requests) == 1
    assert harness.device.engine.tags() == {f"{ECR_HOST}/app/n{n}:1" for n in range(5)}


def test_the_token_is_asked_for_with_the_keys_that_tes_gave(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1")

    assert harness.run("pull", f"docker:{ECR_HOST}/app/one:1").code == 0

    (call,) = harness.device.aws.calls("GetAuthorizationToken")
    assert call.access_key == harness.core.tes.credentials.access_key_id


def test_public_hub_and_digest_references(harness: Harness) -> None:
    pushed = push_image(harness.device.public, "library/tool", "2.0")
    uris = (
        "docker:tool:2.0",
        f"docker:public.ecr.aws/library/tool@{pushed.manifest_digest}",
        f"DOCKER:public.ecr.aws/library/tool:2.0@{pushed.manifest_digest}",
    )

    done = harness.run("pull", "--json", *uris)

    assert done.code == 0, done.err
    ready = {m["image"]: m for m in done.messages() if m["state"] == "READY"}
    assert set(ready) == set(uris)
    assert {message["digest"] for message in ready.values()} == {pushed.manifest_digest}


def test_ecr_public_is_signed_in_to_when_there_are_credentials(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")

    assert harness.run("pull", "docker:public.ecr.aws/library/tool:1.0").code == 0

    (call,) = harness.device.aws.calls("GetAuthorizationToken")
    assert (call.service, call.region) == ("ecr-public", "us-east-1")
    assert any(request.is_login for request in harness.device.public.requests())


def test_ecr_public_works_without_a_token_too(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.device.aws.fail("GetAuthorizationToken", 400, "AccessDeniedException", times=9)

    assert harness.run("pull", "docker:public.ecr.aws/library/tool:1.0").code == 0


def test_two_processes_that_want_the_same_image_make_one_pull(harness: Harness) -> None:
    push_image(harness.device.public, "library/large", "1", layers=large_image())
    processes = [harness.process("pull", "--json", "docker:large:1") for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        assert process.wait_ended(60)
        assert process.exit_code == 0, process.log_text()

    blobs = [request.path for request in harness.device.public.requests() if request.is_blob]
    assert len(blobs) == len(set(blobs))
    manifests = [r for r in harness.device.public.requests() if "/manifests/" in r.path]
    assert len(manifests) <= 3


def test_an_image_of_another_architecture_under_the_right_tag_is_noticed(harness: Harness) -> None:
    push_multi_platform(
        harness.device.public,
        "library/multi",
        "1",
        platforms=[Platform("amd64"), Platform("arm64", variant="v8")],
    )
    with harness.device.engine.client() as client:
        client.images.pull("multi", tag="1", platform="linux/arm64")

    assert harness.run("pull", "docker:multi:1").code == 0

    with harness.device.engine.client() as client:
        assert client.images.get("multi:1").attrs["Architecture"] == Platform().architecture


def test_a_present_image_is_not_pulled_again_but_latest_is(harness: Harness) -> None:
    for tag in ("1.0", "latest"):
        push_image(harness.device.public, "library/tool", tag)
    assert harness.run("pull", "docker:tool:1.0", "docker:tool").code == 0
    harness.device.public.forget_requests()

    assert harness.run("pull", "docker:tool:1.0").code == 0
    assert not harness.device.public.requests()

    newer = push_image(
        harness.device.public, "library/tool", "latest", layers=[random_layer("newer", 10_000)]
    )
    done = harness.run("pull", "--json", "docker:tool")
    assert done.messages()[-1]["digest"] == newer.manifest_digest


def test_policies(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")

    absent = harness.run("pull", "--json", "--policy", "never", "docker:tool:1.0")
    assert absent.code == 3
    assert absent.messages()[-1]["error"]["code"] == "DOCKER_IMAGE_NOT_VALID"

    assert harness.run("pull", "--policy", "IfNotPresent", "docker:tool:1.0").code == 0
    harness.device.public.forget_requests()
    assert harness.run("pull", "--policy", "Always", "docker:tool:1.0").code == 0
    assert any("/manifests/" in request.path for request in harness.device.public.requests())


def test_latest_that_cannot_be_checked_is_ready_with_a_warning(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "latest")
    assert harness.run("pull", "docker:tool").code == 0
    harness.device.public.stop()

    done = harness.run("pull", "docker:tool")

    assert done.code == 0
    assert "READY, but it could not be checked for a newer one: NETWORK_ERROR" in done.out


def test_the_platform_is_asked_for_and_checked(harness: Harness) -> None:
    push_multi_platform(
        harness.device.public,
        "library/multi",
        "1",
        platforms=[Platform("amd64"), Platform("arm64", variant="v8")],
    )

    done = harness.run("pull", "--platform", "linux/arm64", "docker:multi:1")
    assert done.code == 0, done.out
    with harness.device.engine.client() as client:
        assert client.images.get("multi:1").attrs["Architecture"] == "arm64"

    again = harness.run("pull", "--platform", "linux/amd64", "docker:multi:1")
    assert again.code == 0
    with harness.device.engine.client() as client:
        assert client.images.get("multi:1").attrs["Architecture"] == "amd64"

    lacking = harness.run("pull", "--json", "--platform", "linux/s390x", "docker:multi:1")
    assert lacking.code == 3
    assert lacking.messages()[-1]["error"]["code"] == "IMAGE_PLATFORM_MISMATCH"


def test_what_cannot_be_mended_fails_at_once_and_spoils_nothing_else(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")

    done = harness.run("pull", "--json", "docker:tool:1.0", "docker:Tool:1.0", "docker:tool:absent")

    assert done.code == 3
    last = {message["image"]: message for message in done.messages()}
    assert last["docker:tool:1.0"]["state"] == "READY"
    assert last["docker:Tool:1.0"]["error"]["code"] == "DOCKER_ARTIFACT_URI_NOT_VALID"
    assert last["docker:tool:absent"]["error"]["code"] == "DOCKER_IMAGE_NOT_VALID"
    assert last["docker:tool:absent"]["attempt"] == 1
    assert last["docker:tool:absent"]["error"]["hint"]


def test_only_wrong_uris_are_a_usage_error(harness: Harness) -> None:
    assert harness.run("pull", "docker:Tool:1.0").code == 2
    assert harness.run("pull", "--timeout", "soon", "docker:tool").code == 2


def test_the_network_is_waited_for_until_it_is_back(harness: Harness) -> None:
    push_image(harness.device.public, "library/tool", "1.0")
    harness.device.public.stop()
    process = harness.process("pull", "docker:tool:1.0")
    process.start()
    process.wait_ready(lambda: "RETRYING" in process.log_text())

    harness.device.public.start()

    assert process.wait_ended(60)
    assert process.exit_code == 0, process.log_text()


def test_time_that_runs_out_is_exit_code_4_with_the_last_error(harness: Harness) -> None:
    done = harness.run("pull", "--timeout", "2", "docker:registy.example.com/app:1")

    assert done.code == 4
    assert "no such host" in done.err
    assert "most likely its name is mistyped" in done.err


def test_a_token_that_was_refused_is_fetched_anew_once(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    harness.device.ecr.credentials = Credentials("AWS", "rotated-behind-our-back")

    done = harness.run("pull", "--json", f"docker:{ECR_HOST}/app/one:1")

    assert done.code == 3
    assert done.messages()[-1]["error"]["code"] == "DOCKER_LOGIN_ERROR"
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 2


def test_throttling_of_ecr_is_tried_again(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    harness.device.aws.fail("GetAuthorizationToken", 400, "ThrottlingException", times=2)

    done = harness.run("pull", "--json", f"docker:{ECR_HOST}/app/one:1")

    assert done.code == 0, done.out
    codes = [m["error"]["code"] for m in done.messages() if m["state"] == "RETRYING"]
    assert codes == ["THROTTLING_ERROR", "THROTTLING_ERROR"]


def test_a_denied_token_names_the_action_and_is_not_tried_again(harness: Harness) -> None:
    harness.device.aws.fail("GetAuthorizationToken", 400, "AccessDeniedException", times=9)

    done = harness.run("pull", "--json", f"docker:{ECR_HOST}/app/one:1")

    assert done.code == 3
    error = done.messages()[-1]["error"]
    assert error["code"] == "GET_ECR_CREDENTIAL_ERROR"
    assert "ecr:GetAuthorizationToken" in error["hint"]
    assert len(harness.device.aws.calls("GetAuthorizationToken")) == 1


def test_tes_that_has_no_credentials_yet_is_waited_for(each_harness: Harness) -> None:
    push_image(each_harness.device.ecr, "app/one", "1")
    each_harness.core.tes.fault = TesFault.null_body()
    process = each_harness.process("pull", f"docker:{ECR_HOST}/app/one:1")
    process.start()
    process.wait_ready(lambda: "CREDENTIAL_ENDPOINT_SERVER_ERROR" in process.log_text())

    each_harness.core.tes.fault = None

    assert process.wait_ended(60)
    assert process.exit_code == 0, process.log_text()


def test_without_the_dependency_on_tes_the_error_says_so(harness: Harness) -> None:
    done = harness.run(
        "pull", f"docker:{ECR_HOST}/app/one:1", AWS_CONTAINER_CREDENTIALS_FULL_URI=""
    )

    assert done.code == 3
    assert "aws.greengrass.TokenExchangeService" in done.out


def test_an_engine_that_is_away_is_exit_code_5(harness: Harness) -> None:
    harness.device.engine.stop()

    at_once = harness.run("pull", "docker:tool:1.0")
    waited = harness.run("pull", "--timeout", "1", "docker:tool:1.0")

    assert (at_once.code, waited.code) == (5, 5)
    assert "DOCKER_SERVICE_UNAVAILABLE" in at_once.err


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        '{"auths": {"x": {"auth": "!!!"}}}',
        '{"auths": 5}',
        '{"credsStore": "missing"}',
        '{"proxies": 3}',
    ],
)
def test_the_users_docker_configuration_plays_no_part(
    harness: Harness, tmp_path: Path, content: str
) -> None:
    push_image(harness.device.ecr, "app/one", "1")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(content)

    done = harness.run("pull", f"docker:{ECR_HOST}/app/one:1", HOME=str(tmp_path))

    assert done.code == 0, done.out + done.err


def test_no_permission_names_user_and_command(harness: Harness) -> None:
    # setpriv drops to a user that may not use the socket.
    process = harness.process("pull", "docker:tool:1.0")
    process.arguments = [
        "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *process.arguments,
    ]  # fmt: skip
    process.environment["DOCKERMGR_HOME"] = "/nonexistent"
    process.start()

    assert process.wait_ended(60)
    assert process.exit_code == 5
    assert "sudo usermod -aG docker nobody" in process.log_text()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_signals_end_a_pull_in_flight(harness: Harness, number: signal.Signals, code: int) -> None:
    push_image(harness.device.public, "library/large", "1", layers=large_image())
    process = harness.process("pull", "docker:large:1")
    process.start()
    process.wait_ready(lambda: "asking the registry" in process.log_text())

    process.signal(number)

    assert process.wait_ended(10)
    assert process.exit_code == code


def test_what_was_pulled_is_recorded(harness: Harness) -> None:
    pushed = push_image(harness.device.public, "library/tool", "1.0", layers=small_image())
    began = time.time()

    assert harness.run("pull", "docker:tool:1.0").code == 0

    state = State(harness.home)
    (image,) = state.pulled_images()
    state.close()
    assert image.reference == "docker.io/library/tool:1.0"
    assert image.digest == pushed.manifest_digest
    assert image.pulled_at >= began


def test_progress_is_monotonic_and_complete(harness: Harness) -> None:
    push_image(harness.device.public, "library/large", "1", layers=large_image())

    done = harness.run("pull", "docker:large:1")
    assert done.code == 0

    process_out = harness.run("pull", "--json", "--policy", "Always", "docker:large:1")
    assert process_out.code == 0
    percents = [m["progress"]["percent"] for m in process_out.messages() if m["progress"]]
    assert percents == sorted(percents)
    assert "downloading" in done.out
    assert "100 %" in done.out


def test_no_secret_on_disk_on_a_command_line_or_in_the_output(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/one", "1", layers=large_image())
    password = "123456789012-auth-token"
    process = harness.process("pull", "--verbose", f"docker:{ECR_HOST}/app/one:1")
    process.start()

    seen_arguments = set()
    while not process.wait_ended(0.005):
        seen_arguments.add(_command_lines())
    assert process.exit_code == 0

    assert not [line for lines in seen_arguments for line in lines if password in line]
    assert password not in process.log_text()
    home = harness.device.folder / "home"
    for file in [*home.rglob("*"), *harness.home.rglob("*")]:
        if file.is_file():
            assert password.encode() not in file.read_bytes(), file
    assert harness.core.tes.credentials.secret_access_key not in process.log_text()
    assert json.dumps(password) not in process.log_text()


def _command_lines() -> tuple[str, ...]:
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return tuple(lines)


def test_too_little_space_is_told_with_both_figures_before_any_download(harness: Harness) -> None:
    push_image(harness.device.ecr, "app/large", "1", layers=large_image())
    free = free_bytes(harness)
    uri = f"docker:{ECR_HOST}/app/large:1"
    configuration = {
        "images": [uri],
        "minFreeBytes": free - 20_000_000,
        "startup": {"waitSeconds": 0},
    }

    with harness.service(configuration):
        retrying = harness.wait_for_image(uri, "RETRYING")

    assert retrying["error"]["code"] == "DISK_SPACE_CRITICAL"
    assert re.search(r"needs about \d+ MB .*, \d+ MB are free", retrying["error"]["message"])
    assert "minFreeBytes" in retrying["error"]["message"]
    blobs = [request for request in harness.device.ecr.requests() if request.is_blob]
    assert len(blobs) <= 1, (
        "only the image's configuration may be read, to count layers that are here"
    )


def test_layers_that_are_here_need_no_space(harness: Harness) -> None:
    base = large_image()
    push_image(harness.device.ecr, "app/large", "1", layers=base)
    push_image(harness.device.ecr, "app/large", "2", layers=[*base, random_layer("top", 1000)])
    assert harness.run("pull", f"docker:{ECR_HOST}/app/large:1").code == 0
    free = free_bytes(harness)
    uri = f"docker:{ECR_HOST}/app/large:2"

    with harness.service({"images": [uri], "minFreeBytes": free - 20_000_000}):
        harness.wait_for_image(uri, "READY")
