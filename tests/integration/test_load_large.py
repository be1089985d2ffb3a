"""`dockermgr load` of an archive that is larger than the memory of many devices."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import time
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from tests.integration.harness import Harness
from tests.integration.test_load import BUCKET
from tests.sandbox.images import Platform

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20


def write_archive(path: Path, size_bytes: int) -> str:
    """An archive with one layer of that size; returns its SHA-256."""
    layer = path.with_suffix(".layer")
    blocks = random.Random(size_bytes)
    with tarfile.open(layer, "w") as opened:
        entry = tarfile.TarInfo("data")
        entry.size = size_bytes
        opened.addfile(entry, _Random(blocks))
    config = json.dumps(
        {
            **Platform().as_json(),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": ["large:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as opened:
        opened.add(layer, "layer.tar")
        for member, content in ((name, config), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    layer.unlink()
    return _sha256(path)


class _Random(io.BytesIO):
    """Random bytes without end."""

    def __init__(self, source: random.Random) -> None:
        super().__init__()
        self._source = source

    def read(self, size: int | None = -1, /) -> bytes:
        return self._source.randbytes(size or 0)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(MEBIBYTE):
            digest.update(block)
    return digest.hexdigest()


def _status(pid: int, file: str, name: str) -> int:
    """A number that the kernel counts for a process; 0 when that is gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", ["s3", "file"])
def test_a_gibibyte_takes_little_memory_and_no_second_copy(harness: Harness, place: str) -> None:
    path = Path(harness.device.folder, "large.tar")
    digest = write_archive(path, GIBIBYTE)
    where = str(path)
    if place == "s3":
        s3 = harness.device.aws.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        one_by_one = TransferConfig(multipart_chunksize=64 * MEBIBYTE, use_threads=False)
        s3.upload_file(str(path), BUCKET, "large.tar", Config=one_by_one)
        where = f"s3://{BUCKET}/large.tar"
        path.unlink()

    process = harness.process("load", "--sha256", digest, where)
    began = time.monotonic()
    process.start()
    peak_kib = written_bytes = 0
    while not process.wait_ended(0.05):
        peak_kib = max(peak_kib, _status(process.pid, "status", "VmHWM"))
        written_bytes = max(written_bytes, _status(process.pid, "io", "write_bytes"))

    assert process.exit_code == 0, process.log_text()
    assert harness.device.engine.tags() == {"large:1"}
    figures = f"{place}: peak {peak_kib / 1024:.0f} MiB, written {written_bytes / 1024:.0f} KiB"
    print(f"{figures}, {time.monotonic() - began:.1f} s")
    assert peak_kib < 150 * 1024
    assert written_bytes < MEBIBYTE
    path.unlink(missing_ok=True)
