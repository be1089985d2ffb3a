"""What the service hands over is what the command line goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockermgr.config import Config
from dockermgr.errors import DockermgrError, ErrorCode
from dockermgr.handover import FILE_NAME, hand_over, taken_over


def test_without_a_service_the_defaults_apply(tmp_path: Path) -> None:
    assert taken_over(tmp_path) == Config()


def test_what_pulling_goes_by_is_handed_over_and_nothing_else(tmp_path: Path) -> None:
    hand_over(
        tmp_path,
        {
            "allowedRegistries": ["docker.io"],
            "registries": {"docker.io": {"mirrors": ["cache.example.com"]}},
            "images": ["docker:nginx:1"],
        },
    )

    config = taken_over(tmp_path)

    assert config.allowed_registries == ("docker.io",)
    assert config.registry("docker.io").mirrors == ("cache.example.com",)
    assert config.images == ()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("raw", [None, [], "text"])
def test_a_configuration_that_is_no_map_hands_over_the_defaults(
    tmp_path: Path, raw: object
) -> None:
    hand_over(tmp_path, {"requireDigest": True})
    hand_over(tmp_path, raw)

    assert taken_over(tmp_path) == Config()


def test_a_damaged_file_is_named_rather_than_ignored(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"allowedRegis')

    with pytest.raises(DockermgrError, match=FILE_NAME) as caught:
        taken_over(tmp_path)

    assert caught.value.code is ErrorCode.COMPONENT_CONFIGURATION_NOT_VALID
    hand_over(tmp_path, {})
    assert taken_over(tmp_path) == Config()


def test_a_home_that_takes_nothing_is_no_failure(tmp_path: Path) -> None:
    hand_over(tmp_path / "missing", {"requireDigest": True})

    assert taken_over(tmp_path / "missing") == Config()
