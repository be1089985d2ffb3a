"""The Python interpreters on this machine: under pyenv, on PATH, and of tools/pythons.sh."""

import os
import re
import shutil
import sys
from pathlib import Path

UNPACKED = Path(__file__).resolve().parents[2] / "build/pythons"
SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")


def _pyenv() -> dict[str, str]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = {}
    for python in sorted(root.glob("versions/3.*/bin/python3")):
        version = re.match(r"3\.\d+", python.parent.parent.name)
        if version:
            found[version[0]] = str(python)
    return found


def supported_pythons() -> list[str]:
    """One of each minor version that dockermgr runs on; at least the one that runs this."""
    found = _pyenv()
    for version in SUPPORTED:
        unpacked = UNPACKED / version / "usr/bin/python3"
        path = shutil.which(f"python{version}") or (str(unpacked) if unpacked.exists() else None)
        if path and version not in found:
            found[version] = path
    found[f"3.{sys.version_info.minor}"] = sys.executable
    return [found[version] for version in SUPPORTED if version in found]


def older_pythons() -> list[str]:
    """Those that are too old, if there are any."""
    return [path for version, path in _pyenv().items() if int(version.partition(".")[2]) < 10]
