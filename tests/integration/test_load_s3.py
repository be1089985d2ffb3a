"""`dockermgr load` when S3, or the way to it, is in trouble."""

from __future__ import annotations

import gzip
import json
import math
import signal

import pytest

from tests.integration.harness import Harness
from tests.integration.test_load import BUCKET, error_of, everything, put_object, tags
from tests.sandbox.archives import archive, saved_image
from tests.sandbox.aws import Fault

pytestmark = pytest.mark.timeout(120)

MEGABYTE = 1_000_000
UNAVAILABLE = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>"
)
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/DeviceRole/0a1b</Arn>
<UserId>A:0a1b</UserId><Account>123456789012</Account></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""


def large(harness: Harness, seed: str) -> str:
    """An archive of some MB in S3."""
    return put_object(harness, archive(saved_image("app:1", seed=seed, size_bytes=6 * MEGABYTE)))


def resumed(harness: Harness) -> list[int]:
    """Where the downloads of all that is left began."""
    ranges = [call.range for call in harness.device.aws.calls("GET") if call.range.endswith("-")]
    return [int(asked.removeprefix("bytes=").rstrip("-")) for asked in ranges]


def test_a_download_that_breaks_again_and_again_goes_on_where_it_was(harness: Harness) -> None:
    place = large(harness, "breaks")
    harness.device.aws.inject(Fault("GET", truncate_after_bytes=MEGABYTE, times=math.inf))

    done = harness.run("load", place)

    assert done.code == 0, done.out + done.err
    assert tags(harness) == {"app:1"}
    began = resumed(harness)
    assert began == sorted(set(began))
    assert len(began) >= 6


def test_s3_that_is_busy_in_the_middle_is_waited_for(harness: Harness) -> None:
    place = large(harness, "busy")
    # The two first are looks at the headers; the third is the download.
    harness.device.aws.inject(Fault("GET", truncate_after_bytes=MEGABYTE, times=3))
    harness.device.aws.inject(Fault("GET", 503, UNAVAILABLE, times=2))

    done = harness.run("load", "--json", place)

    assert done.code == 0, done.out + done.err
    errors = [m["error"]["code"] for m in done.messages() if m["state"] == "RETRYING"]
    assert errors == ["THROTTLING_ERROR"] * 2


def test_an_object_that_is_replaced_in_between_is_read_from_its_beginning(harness: Harness) -> None:
    place = put_object(
        harness, gzip.compress(archive(saved_image("old:1", seed="o", size_bytes=6 * MEGABYTE)))
    )
    harness.device.aws.inject(Fault("GET"))  # the look at its beginning
    harness.device.aws.inject(Fault("GET", truncate_after_bytes=MEGABYTE, stall_seconds=3))
    process = harness.process("load", "--json", place)
    process.start()
    process.wait_ready(lambda: "PULLING" in process.log_text())

    put_object(harness, gzip.compress(archive(saved_image("new:1", seed="n"))))

    assert process.wait_ended(60)
    assert process.exit_code == 0, process.log_text()
    assert "was replaced while it was being read" in process.log_text()
    assert tags(harness) == {"new:1"}


def test_a_denied_call_names_the_action_and_the_role(harness: Harness) -> None:
    place = put_object(harness, archive(saved_image("app:1")))
    harness.device.aws.inject(Fault("GET", 403, DENIED))
    harness.device.aws.inject(Fault("GetCallerIdentity", 200, IDENTITY))

    said = error_of(harness, place)

    assert said.startswith("S3_ACCESS_DENIED")
    assert f"allow s3:GetObject on arn:aws:s3:::{BUCKET}/dir/app.tar" in said
    assert "role DeviceRole" in said
    assert len(harness.device.aws.calls("GET")) == 1


def test_the_device_asks_with_the_keys_that_tes_gave(harness: Harness) -> None:
    place = put_object(harness, archive(saved_image("app:1", seed="tes")))
    harness.device.aws.reset()
    assert harness.run("load", place).code == 0
    keys = {call.access_key for call in harness.device.aws.calls("GET")}
    assert keys == {harness.core.tes.credentials.access_key_id}


@pytest.mark.parametrize("place", ["s3://images/missing.tar", "s3://no-such-bucket/app.tar"])
def test_what_is_not_there_is_exit_code_2(harness: Harness, place: str) -> None:
    put_object(harness, b"")
    assert error_of(harness, place, code=2).startswith("S3_RESOURCE_NOT_FOUND")


def test_a_bucket_in_another_region_is_found(harness: Harness) -> None:
    place = put_object(harness, archive(saved_image("app:1", seed="region")))
    harness.device.aws.reset()
    moved = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
    harness.device.aws.inject(Fault("GET", 301, moved, {"x-amz-bucket-region": "eu-west-1"}))

    done = harness.run("load", place)

    assert done.code == 0, done.out + done.err
    assert [call.region for call in harness.device.aws.calls("GET")][:2] == [
        "us-east-1",
        "eu-west-1",
    ]


def test_time_that_runs_out_is_exit_code_4_with_the_last_error(harness: Harness) -> None:
    place = put_object(harness, archive(saved_image("app:1")))
    harness.device.aws.inject(Fault("GET", 503, UNAVAILABLE, times=math.inf))

    done = harness.run("load", "--timeout", "2", place)

    assert done.code == 4
    assert "SlowDown" in done.err


def test_an_engine_that_is_killed_in_the_middle_gets_all_of_it_again(harness: Harness) -> None:
    place = large(harness, "killed")
    harness.device.aws.inject(Fault("GET", truncate_after_bytes=MEGABYTE, stall_seconds=3, times=3))
    process = harness.process("load", "--timeout", "100", place)
    process.start()
    process.wait_ready(lambda: "PULLING" in process.log_text())

    harness.device.engine.kill()
    process.wait_ready(lambda: "RETRYING" in process.log_text())
    harness.device.engine.start()

    assert process.wait_ended(60)
    assert process.exit_code == 0, process.log_text()
    assert "DOCKER_SERVICE_UNAVAILABLE" in process.log_text()
    assert tags(harness) == {"app:1"}


def test_an_engine_that_stops_listening_is_noticed(harness: Harness) -> None:
    place = large(harness, "hung")
    # As the service hands it over.
    limits = json.dumps({"timeouts": {"extractStallSeconds": 2}})
    (harness.home / "configuration.json").write_text(limits)
    harness.device.aws.inject(Fault("GET", truncate_after_bytes=MEGABYTE, stall_seconds=3, times=3))
    process = harness.process("load", "--timeout", "100", place)
    process.start()
    process.wait_ready(lambda: "PULLING" in process.log_text())

    harness.device.engine.pause()
    process.wait_ready(lambda: "RETRYING" in process.log_text())
    harness.device.engine.resume()

    assert process.wait_ended(60)
    assert process.exit_code == 0, process.log_text()
    assert "PULL_STALLED: waited 2 s for the engine to go on" in process.log_text()


def test_a_signal_while_s3_is_away_leaves_nothing(harness: Harness) -> None:
    place = large(harness, "signal")
    harness.device.aws.inject(Fault("GET", truncate_after_bytes=MEGABYTE, times=3))
    harness.device.aws.inject(Fault("GET", 503, UNAVAILABLE, times=math.inf))
    process = harness.process("load", place)
    process.start()
    process.wait_ready(lambda: "RETRYING" in process.log_text())

    process.signal(signal.SIGTERM)

    assert process.wait_ended(20)
    assert process.exit_code == 143, process.log_text()
    assert everything(harness) == set()
