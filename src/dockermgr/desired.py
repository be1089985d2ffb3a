"""What is configured: our own configuration and the image lists of the components we follow."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dockermgr.config import (
    CONFIGURATION_KEYS,
    Config,
    ImageSpec,
    parse_config,
    parse_dependent_images,
)
from dockermgr.ipc import NucleusLink
from dockermgr.nucleus import NucleusRefused
from dockermgr.reader import Problem
from dockermgr.reconcile import Wanted, desired_images

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desired:
    """One reading of everything that is configured."""

    raw: object
    """Our own configuration as the nucleus gave it."""
    config: Config
    images: tuple[Wanted, ...]
    problems: tuple[Problem, ...]
    complete: bool
    """False: the nucleus could not hand over a part, which is not the same as its being empty."""
    refused: bool
    """That part, or a dependent's images: the nucleus may be able to another time."""


class DesiredSource:
    """Reads over IPC, and sees to it that changes are told. Every method raises NucleusUnavailable."""

    def __init__(self, link: NucleusLink, component: str) -> None:
        self._link = link
        self._component = component
        self._followed: set[str] = set()
        self._last: dict[str, tuple[ImageSpec, ...]] = {}

    def follow(self) -> None:
        """On a new connection: changes of our own configuration are told from now on."""
        self._followed = set()
        self._link.follow_configuration(None)

    def read(self) -> Desired:
        """Everything as it is now."""
        raw, refused = self._read_own()
        config, problems = parse_config(raw)
        unread = refused
        for component in config.components:
            try:
                self._last[component], more = self._read_dependent(component)
                problems += more
            except NucleusRefused as error:
                # Nobody else's images wait for these, and those read before stay wanted.
                unread += (_unreadable(f"{component}:dockerImages", error),)
        dependents = {name: self._last.get(name, ()) for name in config.components}
        images = desired_images(self._component, config.images, dependents)
        return Desired(
            raw, config, images, problems + unread, complete=not refused, refused=bool(unread)
        )

    def _read_own(self) -> tuple[object, tuple[Problem, ...]]:
        try:
            return self._link.get_configuration(None, ()), ()
        except NucleusRefused as error:
            log.info("reading the configuration key by key reason=%s", error)
        found: dict[str, object] = {}
        refused = []
        for key in CONFIGURATION_KEYS:
            try:
                found[key] = self._link.get_configuration(None, (key,))
            except NucleusRefused as error:
                refused.append(_unreadable(key, error))
        return found, tuple(refused)

    def _read_dependent(self, component: str) -> tuple[tuple[ImageSpec, ...], tuple[Problem, ...]]:
        if component not in self._followed:
            self._link.follow_configuration(component)
            self._followed.add(component)
        raw = self._link.get_configuration(component, ("dockerImages",))
        specs, problems = parse_dependent_images(raw)
        return specs, tuple(Problem(f"{component}:{p.path}", p.message) for p in problems)


def _unreadable(path: str, error: NucleusRefused) -> Problem:
    return Problem(
        path,
        f"the nucleus cannot hand this value over ({error}); Lite allows"
        " 10,000 bytes and 255 values: make it smaller",
    )
