"""The keys of a recipe in their own case (developer guide, "Component recipe reference"). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dockermgr.nodes import Node
from dockermgr.recipe import STEPS, manifests

_ANY = "*"
"""Keys that are names: of components, selectors."""

Keys = Mapping[str, "Keys | None"]

_STEP: Keys = dict.fromkeys(("Script", "Setenv", "RequiresPrivilege", "Timeout", "Skipif"))
_LIFECYCLE: Keys = {"Setenv": None, **dict.fromkeys(STEPS, _STEP)}
_MANIFEST: Keys = {
    "Name": None,
    "Platform": dict.fromkeys(("os", "architecture", "runtime")),
    "Lifecycle": _LIFECYCLE,
    "Selections": None,
    "Artifacts": {
        **dict.fromkeys(("Uri", "Unarchive", "Digest", "Algorithm")),
        "Permission": dict.fromkeys(("Read", "Execute")),
    },
}
_RECIPE: Keys = {
    **dict.fromkeys(("RecipeFormatVersion", "ComponentName", "ComponentVersion", "ComponentType")),
    **dict.fromkeys(("ComponentDescription", "ComponentPublisher", "ComponentSource")),
    "ComponentConfiguration": {"DefaultConfiguration": None},
    "ComponentDependencies": {_ANY: dict.fromkeys(("VersionRequirement", "DependencyType"))},
    "Manifests": None,
    "Lifecycle": {_ANY: _LIFECYCLE},
}


def misspelt_keys(recipe: Node, is_looked_at: Callable[[Node], bool]) -> Iterator[tuple[Node, str]]:
    """Keys in a case that is not theirs, with the right one; in the manifests that are looked at."""
    yield from _misspelt(recipe, _RECIPE)
    for manifest in manifests(recipe):
        if is_looked_at(manifest):
            yield from _misspelt(manifest, _MANIFEST)


def _misspelt(node: Node, keys: Keys) -> Iterator[tuple[Node, str]]:
    for item in node.items:
        yield from _misspelt(item, keys)
    by_lower = {known.lower(): known for known in keys if known != _ANY}
    for key, value in node.entries:
        known = by_lower.get(key.text.lower())
        if known is not None and key.text != known:
            yield key, known
        below = keys.get(known or _ANY)
        if below is not None:
            yield from _misspelt(value, below)
