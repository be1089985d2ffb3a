"""What is in an archive of docker save, how far it is let through, and what is none."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockermgr import archive as archives
from dockermgr.archive import BLOCK, END, Archive, Sieve, read_archive
from dockermgr.errors import DockermgrError, ErrorCode
from tests.sandbox.archives import Form, archive, members, saved_image, tar

IMAGE = saved_image("app:1", "app:two", size_bytes=3000)
OTHER = saved_image("other:1", seed=1, size_bytes=2000)
BOTH = {form: archive(IMAGE, OTHER, form=form) for form in Form}
"""Two images, in either form."""


def look_at(content: bytes) -> Archive:
    """As a file or an object is looked at: here and there."""
    return read_archive(lambda offset, length: content[offset : offset + length])


def let_through(content: bytes, sizes: list[int]) -> tuple[bytes, Sieve]:
    """As a stream is: in pieces of these sizes, over and over."""
    sieve, passed, at, turn = Sieve(), b"", 0, 0
    while at < len(content):
        size = sizes[turn % len(sizes)]
        passed += sieve.feed(content[at : at + size])
        at, turn = at + size, turn + 1
    return passed, sieve


def end_of(content: bytes) -> int:
    """Where the mark at the end begins."""
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        last = opened.getmembers()[-1]
        return last.offset_data + -(-last.size // BLOCK) * BLOCK


def refusal(content: bytes) -> str:
    """Why it is refused, the same either way."""
    with pytest.raises(DockermgrError) as looked:
        look_at(content)
    with pytest.raises(DockermgrError) as sieved:
        let_through(content, [1000])[1].finish()
    assert looked.value.code is sieved.value.code is ErrorCode.DOCKER_IMAGE_NOT_VALID
    assert looked.value.message == sieved.value.message
    return looked.value.message


def outcome(look: Callable[[], Archive]) -> Archive | str:
    """What is found, or why nothing is."""
    try:
        return look()
    except DockermgrError as error:
        return str(error)


def with_member(member: tarfile.TarInfo) -> bytes:
    """A good archive with one more member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        opened.addfile(member)
        for name, content in members([IMAGE]).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize("form", list(Form))
def test_images_names_and_ids_of_both_forms(form: Form) -> None:
    found = look_at(BOTH[form])

    assert found.count == 2
    assert found.tags == tuple(f"docker.io/library/{n}" for n in ("app:1", "app:two", "other:1"))
    assert [
        {config} <= image.ids for config, image in zip(found.configs, (IMAGE, OTHER), strict=True)
    ]
    assert len(found.manifests) == (2 if form is Form.OCI else 0)
    assert set(found.manifests) <= IMAGE.ids | OTHER.ids


def test_only_headers_and_descriptions_are_read() -> None:
    content = archive(saved_image("app:1", size_bytes=1_000_000))
    read = 0

    def read_at(offset: int, length: int) -> bytes:
        nonlocal read
        read += length
        return content[offset : offset + length]

    read_archive(read_at)
    assert read < 10_000


@settings(deadline=None)
@given(sizes=st.lists(st.integers(30, 5000), min_size=1, max_size=5), form=st.sampled_from(Form))
def test_all_but_the_end_passes_however_it_is_cut(sizes: list[int], form: Form) -> None:
    content = BOTH[form]
    passed, sieve = let_through(content, sizes)

    assert passed == content[: end_of(content)]
    assert sieve.finish() == look_at(content)
    with tarfile.open(fileobj=io.BytesIO(passed + END)) as opened:
        assert "manifest.json" in opened.getnames()


@settings(deadline=None)
@given(cut=st.integers(0, end_of(BOTH[Form.OCI]) + BLOCK - 1), size=st.integers(30, 3000))
def test_a_truncated_archive_never_becomes_a_whole_one(cut: int, size: int) -> None:
    content = BOTH[Form.OCI]
    passed, sieve = let_through(content[:cut], [size])

    assert content.startswith(passed)
    with pytest.raises(DockermgrError, match="truncated"):
        sieve.finish()
    spoilt = passed + sieve.spoiler
    with pytest.raises(DockermgrError):
        look_at(spoilt + END)
    # No reader may take it for one that just lacks its mark: the last bytes are part of something.
    assert any(spoilt[-BLOCK:])
    with pytest.raises(DockermgrError):
        look_at(spoilt)


@settings(deadline=None, max_examples=300)
@given(
    at=st.integers(0, len(BOTH[Form.CLASSIC]) - 1),
    bytes_there=st.binary(min_size=1, max_size=600),
)
def test_damage_is_seen_the_same_either_way(at: int, bytes_there: bytes) -> None:
    content = BOTH[Form.CLASSIC]
    damaged = content[:at] + bytes_there + content[at + len(bytes_there) :]
    found = outcome(lambda: look_at(damaged))

    assert found == outcome(lambda: let_through(damaged, [777])[1].finish())  # noqa: PLW0108  # feeding raises, too


@given(st.binary(max_size=3000))
def test_random_bytes_are_no_archive(content: bytes) -> None:
    refusal(content)


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_every_kind_of_tar(format_: int) -> None:
    files = members([IMAGE], Form.OCI)
    if format_ != tarfile.USTAR_FORMAT:
        files = {"long/" * 40 + "name": b"x", "ü" * 90: b"y", **files}
    assert look_at(tar(files, format_)) == look_at(archive(IMAGE, form=Form.OCI))


def test_names_that_begin_with_a_dot_are_the_same_names() -> None:
    files = {f"./{name}": content for name, content in members([IMAGE]).items()}
    assert look_at(tar(files)) == look_at(archive(IMAGE))


def test_an_oci_layout_alone_is_an_archive_too() -> None:
    files = members([IMAGE, OTHER], Form.OCI)
    del files["manifest.json"]
    found = look_at(tar(files))
    assert (found.count, found.configs) == (2, ())
    assert found.tags[0] == "docker.io/library/app:1"
    del files["oci-layout"]
    assert "neither manifest.json nor an OCI layout" in refusal(tar(files))


def test_an_image_whose_id_is_not_said_is_no_known_image() -> None:
    files = members([IMAGE])
    (name,) = (name for name in files if name.endswith(".json") and name != "manifest.json")
    files["config.json"] = files.pop(name)
    files["manifest.json"] = files["manifest.json"].replace(name.encode(), b"config.json")
    assert look_at(tar(files)).configs == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"PK\x03\x04" + b"x" * 9000, "not a tar archive"),
        (b"hello\n" * 1000, "not a tar archive"),
        (tar({"notes.txt": b"hello"}), "neither manifest.json nor an OCI layout"),
        (tar({}), "neither manifest.json nor an OCI layout"),
        (tar({"manifest.json": b"{"}), "not as Docker writes it"),
        (tar({"manifest.json": b"[1]"}), "not as Docker writes it"),
        (tar({"manifest.json": b"[]"}), "no image in it"),
        (
            tar(
                {
                    "manifest.json": b'[{"Config": "", "Layers": [], "RepoTags": ["../App"]}]',
                    "": b"",
                }
            ),
            "not as Docker writes it",
        ),
        (tar({"manifest.json": b"[" * 100_000}), "not as Docker writes it"),
        (tar({**members([IMAGE]), "./manifest.json": b"[]"}), "holds manifest.json twice"),
        (tar({"manifest.json": bytes(archives.LARGEST_DOCUMENT_BYTES + 1)}), "has 4194305 bytes"),
        (tar({"../escape": b"", **members([IMAGE])}), "leads outside"),
        (tar({"a/../../escape": b"", **members([IMAGE])}), "leads outside"),
        (tar({"/etc/passwd": b"", **members([IMAGE])}), "leads outside"),
        (with_member(entry("link", tarfile.SYMTYPE, "../../etc")), "leads outside"),
        (with_member(entry("link", tarfile.SYMTYPE, "/etc")), "leads outside"),
        (with_member(entry("a/b", tarfile.LNKTYPE, "../etc")), "leads outside"),
        (with_member(entry("null", tarfile.CHRTYPE)), "of a kind that docker save does not write"),
        (with_member(entry("pipe", tarfile.FIFOTYPE)), "of a kind that docker save does not write"),
    ],
)
def test_what_is_foreign_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    assert reason in refusal(content)


def test_links_within_the_archive_are_what_docker_writes() -> None:
    assert look_at(with_member(entry("a/layer.tar", tarfile.SYMTYPE, "../b/layer.tar"))).count == 1


@pytest.mark.parametrize("form", list(Form))
def test_an_archive_that_lacks_a_layer_is_refused(form: Form) -> None:
    files = members([IMAGE], form)
    layer = json.loads(files["manifest.json"])[0]["Layers"][1]
    del files[layer]
    assert f"missing, {layer} first" in refusal(tar(files))


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    refusal(tar({str(number): b"" for number in range(11)}))
