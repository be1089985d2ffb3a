"""Names of platforms, and which images run where, against containerd's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.platforms import choose, normalise_platform, parse_platform, runs


@pytest.mark.parametrize(
    ("os", "architecture", "variant", "normal"),
    [
        # As the engine's info has it: GOOS and `uname -m`.
        ("linux", "x86_64", "", "linux/amd64"),
        ("linux", "aarch64", "", "linux/arm64/v8"),
        ("linux", "armv7l", "", "linux/arm/v7"),
        ("linux", "armv6l", "", "linux/arm/v6"),
        ("linux", "armv5tel", "", "linux/arm/v5"),
        ("linux", "armv8l", "", "linux/arm/v8"),
        ("linux", "i686", "", "linux/386"),
        ("linux", "riscv64", "", "linux/riscv64"),
        ("linux", "loongarch64", "", "linux/loong64"),
        # As lists have it.
        ("linux", "amd64", "v1", "linux/amd64"),
        ("linux", "amd64", "v3", "linux/amd64/v3"),
        ("linux", "arm64", "", "linux/arm64/v8"),
        ("linux", "arm64", "8", "linux/arm64/v8"),
        ("linux", "arm64", "v8.2", "linux/arm64/v8.2"),
        ("linux", "arm64", "v9.0", "linux/arm64/v9"),
        ("linux", "arm", "", "linux/arm/v7"),
        ("linux", "arm", "6", "linux/arm/v6"),
        ("linux", "armhf", "", "linux/arm/v7"),
        ("linux", "armel", "", "linux/arm/v6"),
        ("Linux", "AMD64", "", "linux/amd64"),
        ("windows", "amd64", "", "windows/amd64"),
    ],
)
def test_names_become_one(os: str, architecture: str, variant: str, normal: str) -> None:
    assert normalise_platform(os, architecture, variant) == normal
    assert parse_platform(normal) == normal


@pytest.mark.parametrize(
    ("text", "normal"),
    [("arm64", "linux/arm64/v8"), ("aarch64", "linux/arm64/v8"), ("linux/arm", "linux/arm/v7")],
)
def test_short_forms_are_read(text: str, normal: str) -> None:
    assert parse_platform(text) == normal


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "linux//v8", "a/b/c/d", "linux/arm 64", "é", "linux", "Windows"]
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no platform"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux/amd64", ("linux/amd64", "linux/386")),
        ("linux/amd64/v3", ("linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386")),
        ("linux/arm/v7", ("linux/arm/v7", "linux/arm/v6", "linux/arm/v5")),
        ("linux/arm/v5", ("linux/arm/v5",)),
        (
            "linux/arm64/v8",
            ("linux/arm64/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"),
        ),
        ("linux/s390x", ("linux/s390x",)),
        ("linux/386", ("linux/386",)),
    ],
)
def test_a_machine_runs_its_own_and_older_ones(platform: str, expected: tuple[str, ...]) -> None:
    assert runs(platform) == expected


def test_armv9_runs_what_armv8_of_its_day_runs() -> None:
    assert runs("linux/arm64/v9.1")[:4] == (
        *("linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6", "linux/arm64/v8.5"),
    )
    assert "linux/arm64/v8" in runs("linux/arm64/v9")


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/arm64/v8", ["linux/amd64", "linux/arm64/v8"], 1),
        ("linux/arm64/v8", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm64/v8", ["linux/amd64", "linux/arm/v6", "linux/arm/v7"], 2),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/amd64", ["linux/386", "linux/amd64"], 1),
        ("linux/amd64", ["linux/386"], 0),
        ("linux/386", ["linux/amd64"], None),
        ("linux/amd64", ["linux/arm64/v8", "linux/arm/v7"], None),
        ("linux/amd64", ["windows/amd64"], None),
        ("linux/amd64", [], None),
        # In doubt the engine decides: variants, and entries that do not say.
        ("linux/arm/v6", ["linux/arm/v7"], 0),
        ("linux/amd64", ["linux/amd64/v3"], 0),
        ("linux/amd64", ["linux/arm64/v8", None], 1),
        ("linux/amd64", [None, "linux/amd64"], 1),
    ],
)
def test_the_best_of_a_list_is_chosen(
    wanted: str, offered: list[str | None], chosen: int | None
) -> None:
    assert choose(wanted, offered) == chosen


@given(st.text(alphabet="v0123456789./abmrx-", max_size=20))
def test_no_variant_is_too_strange(variant: str) -> None:
    for architecture in ("amd64", "arm", "arm64"):
        platform = normalise_platform("linux", architecture, variant)
        assert runs(platform)[0] == platform
        assert len(runs(platform)) < 300
