"""Whether an image fits: what is needed, what is there already, and what the refusal says."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.manifest import Layer, Manifest
from dockermgr.space import (
    AMPLE_FREE_BYTES,
    EXPANSION_FACTOR,
    check_space,
    is_ample,
    needed_bytes,
    present_layers,
)

MB = 10**6
IMAGE = "registry.example.com/app:1"


def manifest(*sizes: int) -> Manifest:
    layers = tuple(Layer(f"sha256:{number:064x}", size) for number, size in enumerate(sizes))
    return Manifest(None, Layer("sha256:" + "f" * 64, 1_000), layers)


def test_the_download_and_what_it_becomes_are_counted() -> None:
    assert needed_bytes(manifest(100 * MB, 20 * MB)) == 120 * MB * (1 + EXPANSION_FACTOR)


def test_layers_that_are_there_are_not_counted() -> None:
    image = manifest(100 * MB, 20 * MB)

    assert needed_bytes(image, {image.layers[0].digest}) == needed_bytes(manifest(20 * MB))


def test_enough_is_enough_to_the_byte() -> None:
    image = manifest(100 * MB)

    check_space(IMAGE, image, free_bytes=350 * MB)
    with pytest.raises(DockermgrError):
        check_space(IMAGE, image, free_bytes=350 * MB - 1)


def test_the_refusal_has_all_figures_and_is_worth_another_attempt() -> None:
    with pytest.raises(DockermgrError) as caught:
        check_space(IMAGE, manifest(120 * MB, 3 * MB + 400_000), free_bytes=300 * MB)

    assert caught.value.code is ErrorCode.DISK_SPACE_CRITICAL
    assert caught.value.retry is Retry.LIMITED
    assert caught.value.message == (
        f"{IMAGE} needs about 432 MB (layers 123 MB compressed), "
        "300 MB are free on the engine's disk"
    )
    assert "docker system df" in caught.value.hint
    assert "minFreeBytes" not in caught.value.hint


def test_what_must_stay_free_and_what_others_take_count_too() -> None:
    image = manifest(10 * MB)
    check_space(IMAGE, image, free_bytes=60 * MB, min_free_bytes=20 * MB, claimed_bytes=5 * MB)

    with pytest.raises(DockermgrError) as caught:
        check_space(IMAGE, image, free_bytes=60 * MB, min_free_bytes=20 * MB, claimed_bytes=6 * MB)

    assert caught.value.message.endswith(
        "60 MB are free on the engine's disk, other pulls take 6.0 MB of that, "
        "20 MB must stay free (minFreeBytes)"
    )
    assert "or lower minFreeBytes" in caught.value.hint


def test_an_image_with_nothing_to_download_fits_on_a_full_disk() -> None:
    image = manifest(100 * MB)

    check_space(
        IMAGE,
        image,
        free_bytes=0,
        min_free_bytes=MB,
        present_layers={layer.digest for layer in image.layers},
    )


def test_nothing_is_refused_where_nobody_knows_the_free_space() -> None:
    check_space(IMAGE, manifest(10**12), free_bytes=None, min_free_bytes=MB)


@pytest.mark.parametrize(
    ("free_bytes", "min_free_bytes", "ample"),
    [
        (AMPLE_FREE_BYTES, 0, True),
        (AMPLE_FREE_BYTES - 1, 0, False),
        (AMPLE_FREE_BYTES, 1, False),
    ],
)
def test_a_large_disk_needs_no_question(free_bytes: int, min_free_bytes: int, ample: bool) -> None:
    assert is_ample(free_bytes, min_free_bytes) is ample


@pytest.mark.parametrize(
    ("local_images", "shared"),
    [
        ([], 0),
        ([["base", "runtime", "app"]], 3),
        ([["base", "runtime", "other"], ["base"]], 2),
        ([["base", "runtime", "app", "more"]], 3),
        # A layer upon others is another layer to the engine.
        ([["runtime", "app"]], 0),
        ([["base", "other", "app"]], 1),
    ],
)
def test_what_is_there_is_what_some_image_begins_with(
    local_images: list[list[str]], shared: int
) -> None:
    image = manifest(1, 2, 3)

    found = present_layers(image, ["base", "runtime", "app"], local_images)

    assert found == {layer.digest for layer in image.layers[:shared]}


@given(st.lists(st.integers(0, 2**40), max_size=20), st.integers(0, 2**50), st.integers(0, 2**40))
def test_a_refusal_is_always_one_of_too_little_space(
    sizes: list[int], free_bytes: int, min_free_bytes: int
) -> None:
    image = manifest(*sizes)
    fits = not sum(sizes) or needed_bytes(image) + min_free_bytes <= free_bytes

    with contextlib.nullcontext() if fits else pytest.raises(DockermgrError, match="needs about"):
        check_space(IMAGE, image, free_bytes=free_bytes, min_free_bytes=min_free_bytes)
