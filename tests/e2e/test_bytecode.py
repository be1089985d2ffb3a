"""A first start compiles with the help of a child, which may be missing or die."""

import errno
import importlib.util
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.build import ROOT


def _no_child() -> int:
    raise OSError(errno.EAGAIN, "no more processes")


def _killed_child(fork: Callable[[], int] = os.fork) -> int:
    if (child := fork()) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return child


@pytest.mark.parametrize("fork", [os.fork, _no_child, _killed_child])
def test_bytecode_is_complete_whatever_becomes_of_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: Callable[[], int]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "artifacts"))
    unpack = importlib.import_module("dockermgr_unpack")
    sources = [tmp_path / f"{name}.py" for name in "abc"]
    for path in sources:
        path.write_text("'a docstring'")
    monkeypatch.setattr(os, "fork", fork)
    unpack.compile_all([(str(path), f"/elsewhere/{path.name}") for path in sources])
    for path in sources:
        for level in ("", "2"):
            cache = Path(importlib.util.cache_from_source(path, optimization=level))
            assert b"/elsewhere/" + path.name.encode() in cache.read_bytes()
            assert (b"a docstring" in cache.read_bytes()) is not bool(level)
