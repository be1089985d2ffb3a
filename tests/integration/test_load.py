"""`dockermgr load` against a real engine: archives in files and in S3, whole ones and others."""

from __future__ import annotations

import gzip
import hashlib
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from tests.integration.harness import Harness
from tests.sandbox.archives import Form, SavedImage, archive, members, saved_image, tar
from tests.sandbox.device import OTHER_HOST
from tests.sandbox.engines import Variant
from tests.sandbox.images import file_layer

pytestmark = pytest.mark.timeout(120)

PACK: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}
BUCKET = "images"


@pytest.fixture
def image(request: pytest.FixtureRequest) -> SavedImage:
    """An image that no other test has, as containerd's store keeps layers for a while."""
    return saved_image("app:1", seed=request.node.name)


def everything(harness: Harness) -> set[str]:
    """The ids of all images, named or not, in use or left over."""
    with harness.device.engine.client() as client:
        return {str(found.id) for found in client.images.list(all=True)}


def tags(harness: Harness) -> set[str]:
    """The names of all images; Podman has its own beside each."""
    return {name for name in harness.device.engine.tags() if not name.startswith("localhost/")}


def put_file(harness: Harness, content: bytes, name: str = "archive.tar") -> str:
    path = Path(harness.home, name)
    path.write_bytes(content)
    return str(path)


def put_object(harness: Harness, content: bytes, key: str = "dir/app.tar") -> str:
    s3 = harness.device.aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    return f"s3://{BUCKET}/{key}"


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for the signal."""
    caught = re.search(r"(?m)^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def error_of(harness: Harness, *arguments: str, code: int = 3) -> str:
    """Loads what cannot be loaded; returns the code and the message, having seen that nothing is left."""
    before = everything(harness)
    done = harness.run("load", "--json", *arguments)
    assert done.code == code, done.out + done.err
    last = done.messages()[-1]
    assert last["state"] == "FAILED"
    assert everything(harness) == before
    return f"{last['error']['code']}: {last['error']['message']} ({last['error']['hint']})"


@pytest.mark.parametrize("form", list(Form), ids=lambda form: form.value)
@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("put", [put_file, put_object], ids=["file", "s3"])
def test_every_form_kind_and_place(
    harness: Harness,
    image: SavedImage,
    put: Callable[[Harness, bytes], str],
    kind: str,
    form: Form,
) -> None:
    content = PACK[kind](archive(image, form=form))
    place = put(harness, content)

    first = harness.run("load", place, "--sha256", hashlib.sha256(content).hexdigest())
    again = harness.run("load", place)

    assert first.code == 0, first.out + first.err
    assert re.search(r"(?m)^Loaded: .*\bapp:1 \(sha256:", first.out)
    assert tags(harness) == {"app:1"}
    assert again.code == 0
    assert "already there: " in again.out


@pytest.mark.parametrize("form", list(Form), ids=lambda form: form.value)
def test_several_images_and_names(harness: Harness, form: Form) -> None:
    names = [f"{OTHER_HOST}/app:1", f"{OTHER_HOST}/app:latest", f"{OTHER_HOST}/other:2"]
    images = [saved_image(*names[:2], seed="a"), saved_image(names[2], seed="b")]
    place = put_file(harness, archive(*images, form=form))

    done = harness.run("load", place)

    assert done.code == 0, done.out
    assert tags(harness) == set(names)
    assert "already there" in harness.run("load", place).out
    assert "a tag is for one" in error_of(harness, place, "--tag", "more:1")


def test_an_image_without_a_name_and_a_tag_for_it(harness: Harness) -> None:
    place = put_file(harness, archive(saved_image(seed="nameless")))

    assert "Loaded: image without a name" in harness.run("load", place).out
    done = harness.run("load", place, "--tag", "registry.example.com/app:2")

    assert done.code == 0
    assert "already there: registry.example.com/app:2" in done.out
    assert tags(harness) == {"registry.example.com/app:2"}


def test_a_tag_of_ones_own_comes_with_the_first_load(harness: Harness, image: SavedImage) -> None:
    place = put_file(harness, gzip.compress(archive(image)))
    assert harness.run("load", place, "--tag", "docker:mine:1").code == 0
    assert tags(harness) == {"app:1", "mine:1"}


def test_a_name_that_went_astray_is_put_right_without_loading(
    harness: Harness, image: SavedImage
) -> None:
    place = put_object(harness, archive(image))
    # With another name: containerd's store keeps no image without one.
    assert harness.run("load", place, "--tag", "kept:1").code == 0
    assert harness.run("load", put_file(harness, archive(saved_image("app:1", seed=2)))).code == 0
    assert tags(harness) == {"app:1", "kept:1"}
    harness.device.aws.reset()

    done = harness.run("load", place)

    assert "already there: " in done.out
    assert len(harness.device.aws.calls("GET")) == 1
    with harness.device.engine.client() as client:
        assert str(client.images.get("docker.io/library/app:1").id) in done.out


def test_what_is_there_is_found_from_the_headers_of_a_plain_object(
    harness: Harness, image: SavedImage
) -> None:
    form = Form.CLASSIC if harness.device.variant is Variant.DOCKER else Form.OCI
    content = archive(image, form=form)
    assert harness.run("load", put_file(harness, content)).code == 0
    place = put_object(harness, content)
    harness.device.aws.reset()

    done = harness.run("load", place)

    assert "already there" in done.out
    ranges = [call.range for call in harness.device.aws.calls("GET")]
    assert 0 < len(ranges) < 8
    assert not [asked for asked in ranges if asked.endswith("-")]


def test_a_compressed_object_that_was_loaded_once_costs_one_question(
    harness: Harness, image: SavedImage
) -> None:
    place = put_object(harness, zstd.compress(archive(image)))
    assert harness.run("load", place).code == 0
    harness.device.aws.reset()

    assert "already there" in harness.run("load", place).out
    assert len(harness.device.aws.calls("GET")) == 1

    harness.device.engine.remove_images()
    assert "Loaded" in harness.run("load", place).out


def test_a_compressed_archive_of_what_is_there_is_not_loaded_again(
    harness: Harness, image: SavedImage
) -> None:
    content = archive(image)
    assert harness.run("load", put_file(harness, content)).code == 0

    done = harness.run("load", put_file(harness, gzip.compress(content), "archive.tar.gz"))

    assert "already there" in done.out


@pytest.mark.parametrize("form", list(Form), ids=lambda form: form.value)
def test_a_wrong_checksum_loads_nothing(harness: Harness, image: SavedImage, form: Form) -> None:
    for pack in PACK.values():
        for put in (put_file, put_object):
            place = put(harness, pack(archive(image, form=form)))

            said = error_of(harness, place, "--sha256", "0" * 64)

            assert said.startswith("ARTIFACT_CHECKSUM_MISMATCH")
            assert tags(harness) == set()


def test_a_checksum_speaks_for_what_stands_behind_the_end_too(
    harness: Harness, image: SavedImage
) -> None:
    content = archive(image)
    right = hashlib.sha256(content).hexdigest()
    said = error_of(harness, put_file(harness, content + b"more"), "--sha256", right)
    assert said.startswith("ARTIFACT_CHECKSUM_MISMATCH")


@pytest.mark.parametrize("form", list(Form), ids=lambda form: form.value)
@pytest.mark.parametrize("kind", PACK)
def test_a_truncated_archive_leaves_nothing_wherever_it_ends(
    harness: Harness, image: SavedImage, kind: str, form: Form
) -> None:
    content = archive(image, form=form)
    with_end = len(content.rstrip(b"\0"))
    last_member = -(-with_end // 512) * 512
    # In a layer, in the last member, in the padding behind it, right before the mark, within it.
    for size in (100_000, last_member - 513, with_end, last_member, last_member + 300):
        said = error_of(harness, put_file(harness, PACK[kind](content[:size])))
        assert "truncated" in said
    packed = PACK[kind](content)
    if kind != "plain":
        assert "truncated" in error_of(harness, put_file(harness, packed[:-3]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"PK\x03\x04" + b"x" * 5000, "compressed with zip"),
        (b"hello\n" * 1000, "not a tar archive"),
        (gzip.compress(b"hello\n" * 1000), "not a tar archive"),
        (tar({"notes.txt": b"hello"}), "neither manifest.json nor an OCI layout"),
        (zstd.compress(tar({"notes.txt": b"hello"})), "neither manifest.json nor an OCI layout"),
        (tar({"../escape": b"", **members([saved_image("app:1")])}), "leads outside"),
        (
            gzip.compress(tar({"../escape": b"", **members([saved_image("app:1")])})),
            "leads outside",
        ),
    ],
    ids=["empty", "zip", "text", "gzipped text", "tar", "zstd tar", "outside", "gzip outside"],
)
def test_a_foreign_archive_is_refused(harness: Harness, content: bytes, reason: str) -> None:
    said = error_of(harness, put_file(harness, content))
    assert said.startswith("DOCKER_IMAGE_NOT_VALID")
    assert reason in said


@pytest.mark.parametrize("form", list(Form), ids=lambda form: form.value)
def test_a_damaged_layer_leaves_no_half_image(
    harness: Harness, image: SavedImage, form: Form
) -> None:
    before = saved_image("app:1", seed="before")
    assert harness.run("load", put_file(harness, archive(before))).code == 0
    content = bytearray(
        archive(saved_image("app:1", "app:new", seed=image.tags[0] + form), form=form)
    )
    content[300_000] ^= 0xFF

    said = error_of(harness, put_file(harness, bytes(content)))

    assert said.startswith("DOCKER_IMAGE_NOT_VALID: the engine cannot load the archive")
    assert tags(harness) == {"app:1"}
    with harness.device.engine.client() as client:
        assert len(client.images.list()) == 1
    # It would be found there, and taken for whole.
    good = archive(saved_image("app:1", "app:new", seed=image.tags[0] + form), form=form)
    assert "Loaded" in harness.run("load", put_file(harness, good)).out


def test_an_engine_that_is_away_is_exit_code_5(harness: Harness, image: SavedImage) -> None:
    place = put_file(harness, archive(image))
    harness.device.engine.stop()

    at_once = harness.run("load", place)
    waited = harness.run("load", "--timeout", "1", place)

    assert (at_once.code, waited.code) == (5, 5)
    assert "DOCKER_SERVICE_UNAVAILABLE" in at_once.err


def test_an_engine_that_comes_back_gets_the_archive(harness: Harness, image: SavedImage) -> None:
    place = put_file(harness, archive(image))
    harness.device.engine.stop()
    process = harness.process("load", "--timeout", "100", place)
    process.start()
    process.wait_ready(lambda: "RETRYING" in process.log_text())

    harness.device.engine.start()

    assert process.wait_ended(60)
    assert process.exit_code == 0, process.log_text()


@pytest.mark.parametrize("form", list(Form), ids=lambda form: form.value)
def test_a_disk_that_is_too_small_is_told_and_left_as_it_was(harness: Harness, form: Form) -> None:
    engine = harness.device.start_small_engine(60)
    engine.wait_ready()
    zeros = SavedImage((file_layer({"zeros": bytes(80_000_000)}),), ("app:1",))
    place = put_file(harness, gzip.compress(archive(zeros, form=form), 1))
    larger = put_file(harness, archive(saved_image("app:1", size_bytes=70_000_000)), "larger.tar")

    for where, words in ((place, "no space left on device"), (larger, "the archive has 70.0 MB")):
        done = harness.run("load", "--json", "--timeout", "5", where, DOCKER_HOST=engine.host)

        assert done.code == 4, done.out
        errors = [m["error"] for m in done.messages() if m["state"] == "RETRYING"]
        assert {error["code"] for error in errors} == {"DISK_SPACE_CRITICAL"}
        assert words in errors[0]["message"]
        with engine.client() as client:
            assert client.images.list(all=True) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["/nonexistent/app.tar"],
        ["/tmp"],
        ["s3://images"],
        ["https://example.com/app.tar"],
        ["app.tar", "--sha256", "abc"],
        ["app.tar", "--tag", "App"],
        ["app.tar", "--tag", "app@sha256:" + "0" * 64],
    ],
)
def test_wrong_usage_is_exit_code_2(harness: Harness, arguments: list[str]) -> None:
    assert harness.run("load", *arguments).code == 2


def test_two_processes_load_an_archive_once(harness: Harness, image: SavedImage) -> None:
    place = put_object(harness, gzip.compress(archive(image)))
    processes = [harness.process("load", place) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        assert process.wait_ended(60)
        assert process.exit_code == 0, process.log_text()

    downloads = [c for c in harness.device.aws.calls("GET") if c.range == "bytes=0-"]
    assert len(downloads) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_ends_it_and_leaves_nothing(
    harness: Harness, image: SavedImage, number: signal.Signals, code: int
) -> None:
    place = put_file(harness, archive(image))
    harness.device.engine.pause()
    process = harness.process("load", "--timeout", "100", place)
    process.start()
    process.wait_ready(lambda: catches(process.pid, signal.SIGTERM))

    process.signal(number)

    assert process.wait_ended(20)
    assert process.exit_code == code
    harness.device.engine.resume()
    assert everything(harness) == set()
