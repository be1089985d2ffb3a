"""What `dockermgr status` shows: images and containers by component. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dockermgr.containers import Container
from dockermgr.image import ImageState
from dockermgr.images import LocalImages
from dockermgr.reference import InvalidReference, parse_reference, parse_uri
from dockermgr.snapshot import Snapshot
from dockermgr.state import PulledImage
from dockermgr.status import Message

NOBODY = "(command line)"
"""Whose images are that were pulled outside of any component."""
_MEGABYTE = 1_000_000
_INDENT = " " * 6
_TO_DO = "to do:"
_LEAST_WIDTH = 40
"""Of a narrower terminal the rest is left to itself."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the engine has; None while it does not answer."""

    images: LocalImages
    containers: Sequence[Container]


def overview(
    snapshot: Snapshot | None, pulled: Iterable[PulledImage], holdings: Holdings | None
) -> Message:
    """`{manager, components: {name: {images, containers}}}`, as `status --json` prints it.

    `manager` is the last summary and whether the service is running, null where it never ran. Images
    are those that the service follows, in its own words, and those that commands pulled.
    """
    components: dict[str, dict[str, list[Message]]] = {}

    def of(component: object) -> dict[str, list[Message]]:
        name = str(component or NOBODY)
        return components.setdefault(name, {"images": [], "containers": []})

    followed = set()
    for image in snapshot.images if snapshot is not None else ():
        of(image["component"])["images"].append(image)
        followed.add((image["component"], _normal(str(image["image"]))))
    for record in pulled:
        if (record.component, record.reference) not in followed:
            of(record.component)["images"].append(_of_record(record, holdings))
    for container in holdings.containers if holdings is not None else ():
        of(container.component)["containers"].append(
            {
                "name": container.name,
                "image": container.image,
                "state": container.state,
                "status": container.status,
            }
        )
    return {
        "manager": {**snapshot.summary, "running": snapshot.serving} if snapshot else None,
        "components": dict(sorted(components.items())),
    }


def _normal(uri: str) -> str:
    try:
        return str(parse_uri(uri))
    except InvalidReference:
        return uri


def _of_record(record: PulledImage, holdings: Holdings | None) -> Message:
    here = holdings is None or holdings.images.find(parse_reference(record.reference)) is not None
    return {
        "component": record.component,
        "image": f"docker:{record.reference}",
        "state": (ImageState.READY if here else ImageState.REMOVED).value,
        "digest": record.digest,
        "imageId": record.image_id,
        "sizeBytes": record.size_bytes,
        "error": None,
    }


def as_text(seen: Mapping[str, object], width: int) -> str:
    """The overview for a terminal of so many columns, or for a log with 0.

    Names and states are cut at the edge; what is wrong, and what to do, goes on in the next line.
    """
    lines = _manager_lines(seen["manager"], width)
    components = seen["components"]
    if not isinstance(components, Mapping) or not components:
        return "\n".join([*lines, "no images, no containers"])
    for name, held in components.items():
        lines += ["", _cut(name, width)]
        for image in held["images"]:
            lines += _image_lines(image, width)
        lines += [
            _cut(f"  {_container_line(container)}", width) for container in held["containers"]
        ]
    if any(line.lstrip().startswith(_TO_DO) for line in lines):
        lines += ["", "more of each code: docs/troubleshooting.md"]
    return "\n".join(lines)


def _cut(line: str, width: int) -> str:
    return line[:width] if width else line


def _told(text: str, width: int) -> list[str]:
    if not width:
        return [f"{_INDENT}{text}"]
    room = max(width, _LEAST_WIDTH)
    return textwrap.wrap(text, room, initial_indent=_INDENT, subsequent_indent=f"{_INDENT}  ")


def _error_lines(error: Mapping[str, object], width: int, when: str = "") -> list[str]:
    lines = _told(f"{error['code']}: {error['message']}{when}", width)
    return lines + (_told(f"{_TO_DO} {error['hint']}", width) if error.get("hint") else [])


def _manager_lines(manager: object, width: int) -> list[str]:
    if not isinstance(manager, Mapping):
        return ["manager: has not run here"]
    engine = manager["engine"]
    words = "running" if manager["running"] else f"not running since {manager['timestamp']}"
    parts = [f"manager: {words}"]
    if engine["available"] or engine["error"]:
        parts.append(f"engine {engine['version'] or 'away'}")
    if manager["freeBytes"] is not None:
        parts.append(f"{int(manager['freeBytes']) // _MEGABYTE:,} MB free")
    lines = [_cut(", ".join(parts), width)]
    if engine["error"]:
        lines += _error_lines(engine["error"], width)
    for problem in manager["configurationProblems"]:
        lines += _told(f"configuration: {problem}", width)
    return lines


def _image_lines(image: Message, width: int) -> list[str]:
    state, size, error = image["state"], image["sizeBytes"], image["error"]
    what = f"  {state:<9} {image['image']}"
    if isinstance(size, int):
        what += f"  {size / _MEGABYTE:.1f} MB"
    progress = image.get("progress")
    if isinstance(progress, Mapping):
        what += f"  {progress['stage']} {progress['percent']} %"
    lines = [_cut(what, width)]
    if isinstance(error, Mapping):
        when = f"; next attempt {image['retryAt']}" if image.get("retryAt") else ""
        lines += _error_lines(error, width, when)
    return lines


def _container_line(container: Message) -> str:
    name, status, image = container["name"], container["status"], container["image"]
    return f"container {name}: {status} ({image})"
