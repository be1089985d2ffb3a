"""Puts dockermgr and its dependencies into one archive that CPython runs: `python3 <file>.pyz`.

Inside, few entries, as the importer reads the whole directory at each start:
  `__main__.py` and the modules it imports, from artifacts/;
  `manifest.json`, the size and digest of each file that is unpacked;
  `lib.tar`, all Python code and data;
  `native/<abi>/`, the native library for each range of Python versions.
"""

import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

SHEBANG = b"#!/usr/bin/env python3\n"
# What the product asks of AWS; botocore describes 400 services, in 30 MB.
SERVICES = ("ecr", "ecr-public", "s3", "secretsmanager", "sts")
# By their names in endpoints.json, which for two of them are those of the host names.
ENDPOINTS = {*SERVICES, "api.ecr", "api.ecr-public"}
# Constant, so that the same sources give the same bytes: the first moment a zip file can express.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
TAR_TIME = 315532800

_SERVICE_FOLDERS = tuple(f"botocore/data/{service}/" for service in SERVICES)
_UNWANTED = re.compile(
    r"""
    (^|/)(tests?|__pycache__|examples)/   # not for running
    | examples-1\.json$                   # printed in botocore's generated documentation only
    | ^boto3/data/                        # descriptions for boto3.resource(), which is not used
    | ^botocore/cacert\.pem$              # certifi's is taken
    | ^charset_normalizer[/-]             # guesses encodings for requests, in 1.6 MB of memory;
                                          # what an engine or AWS says is UTF-8
    | ^yaml/_yaml\.                       # the quicker half of PyYAML, one for each Python
    | ^[^/]+\.data/                       # command line scripts
    | \.dist-info/(RECORD|WHEEL|top_level\.txt|entry_points\.txt|zip-safe)$
    | \.(pyc|pyi|pyd|exe)$
    """,
    re.VERBOSE,
)


def is_wanted(path: str) -> bool:
    """Whether a device needs a file of a dependency. METADATA is kept, and so are the licences."""
    if path.startswith("botocore/data/") and path.count("/") > 2:
        return path.startswith(_SERVICE_FOLDERS) and not _UNWANTED.search(path)
    return not _UNWANTED.search(path)


def trimmed(path: str, content: bytes) -> bytes:
    """The content of a wanted file: of botocore's endpoints only those of our services.

    That halves the time to make a client, and takes 7 MB off its memory.
    """
    if path != "botocore/data/endpoints.json":
        return content
    endpoints = json.loads(content)
    for partition in endpoints["partitions"]:
        services = partition["services"].items()
        partition["services"] = {name: found for name, found in services if name in ENDPOINTS}
    return json.dumps(endpoints, separators=(",", ":")).encode()


def collect(sources: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """The wanted files of several packages. Raises ValueError if two bring different ones."""
    found: dict[str, bytes] = {}
    for path, content in sources:
        if is_wanted(path):
            kept = trimmed(path, content)
            if found.setdefault(path, kept) != kept:
                raise ValueError(f"two packages bring {path}")
    return found


def bundle(
    path: Path,
    launcher: dict[str, bytes],
    files: dict[str, bytes],
    native: dict[str, dict[str, bytes]],
    version: str,
    machine: str,
) -> None:
    """Writes the archive.

    Args:
        path: where to.
        launcher: the modules at its top; version, digest and machine are put into `__main__.py`.
        files: what is unpacked for each Python, by path.
        native: what is unpacked for some, by ABI and path.
        version: of dockermgr.
        machine: as `uname -m` says it.
    """
    manifest = {
        "files": _digests(files),
        "native": {abi: _digests(content) for abi, content in native.items()},
    }
    described = json.dumps(manifest, indent=0, sort_keys=True).encode()
    digest = hashlib.sha256(described)
    for name in sorted(launcher):
        digest.update(launcher[name])
    entries = {**launcher, "manifest.json": described, "lib.tar": _tar(files)}
    entries["__main__.py"] = _stamped(
        launcher["__main__.py"], RELEASE=f"{version}-{digest.hexdigest()[:12]}", MACHINE=machine
    )
    for abi, content in native.items():
        entries.update({f"native/{abi}/{name}": data for name, data in content.items()})
    put(path, SHEBANG + _zip(entries), mode=0o755)


def put(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Writes a file in one step, so that whoever reads it meanwhile gets the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)


def _digests(files: dict[str, bytes]) -> dict[str, tuple[int, str]]:
    return {path: (len(c), hashlib.sha256(c).hexdigest()) for path, c in files.items()}


def _stamped(source: bytes, **values: str) -> bytes:
    for name, value in values.items():
        place = f'"@{name}@"'.encode()
        if source.count(place) != 1:
            raise ValueError(f"the launcher has no place for {name}")
        source = source.replace(place, f'"{value}"'.encode())
    return source


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            info = tarfile.TarInfo(path)
            info.size, info.mtime, info.mode = len(files[path]), TAR_TIME, 0o644
            tar.addfile(info, io.BytesIO(files[path]))
    return out.getvalue()


def _zip(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, whatever builds it
            info.external_attr = 0o100644 << 16
            archive.writestr(info, entries[name])
    return out.getvalue()
