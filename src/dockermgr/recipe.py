"""Greengrass recipes: what they say, which manifest fits a device, and which images they name. Pure.

Keys are found in any case, as Java takes them; which nucleus is stricter is `lint`'s affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from dockermgr.config import ImageSpec, parse_dependent_images
from dockermgr.nodes import Kind, Node, ReadError, read
from dockermgr.platforms import normalise_platform
from dockermgr.reference import URI_SCHEME

STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover")
_EVERY = frozenset({"*", "//", "all", "any"})
"""component-common's PlatformHelper.java and Lite's recipe.c; `*` is Lite's word, and the cloud's."""
_REGULAR = re.compile(r"/(.+)/")
_ARCHITECTURES = {"amd64": "amd64", "386": "x86", "arm": "arm", "arm64": "aarch64"}
"""Docker's names, and Greengrass's (PlatformResolver.java)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One script of a lifecycle: of a manifest, or of the recipe's own `Lifecycle`."""

    name: str
    key: Node
    value: Node
    """The script itself, or a map with `Script`, `Setenv` and the like."""
    script: Node | None
    manifests: tuple[Node, ...]
    """Those that it is for."""
    selectors: tuple[str, ...] = ()


def read_recipe(text: str, name: str) -> Node:
    """The recipe in a file of that name; `.json` is JSON. Raises ReadError."""
    recipe = read(text, is_json=PurePath(name).suffix.lower() == ".json")
    if recipe.kind is not Kind.MAP or recipe.entry("RecipeFormatVersion") is None:
        raise ReadError(None, "this is no Greengrass recipe: it has no RecipeFormatVersion")
    return recipe


def manifests(recipe: Node) -> tuple[Node, ...]:
    """Its manifests."""
    found = recipe.find("Manifests")
    return tuple(item for item in found.items if item.kind is Kind.MAP) if found else ()


def artifacts(manifest: Node) -> Iterator[Node]:
    """The URIs of a manifest's artifacts."""
    listed = manifest.find("Artifacts")
    for item in listed.items if listed else ():
        uri = item.find("Uri")
        if uri is not None and uri.kind is Kind.SCALAR:
            yield uri


def is_docker(uri: str) -> bool:
    """Whether an artifact's URI names an image."""
    return uri.strip().lower().startswith(URI_SCHEME)


def configuration(recipe: Node, *path: str) -> Node | None:
    """What the default configuration has at `path`."""
    return recipe.find("ComponentConfiguration", "DefaultConfiguration", *path)


def dependencies(recipe: Node) -> tuple[tuple[Node, Node], ...]:
    """Names and what is said of them."""
    found = recipe.find("ComponentDependencies")
    return found.entries if found else ()


def matches(template: Node | None, label: str | None) -> bool:
    """Whether a value under `Platform` takes a device's label; None: the device has none.

    As PlatformHelper.java: a string, a `/regular expression/`, or a list of them.
    """
    if template is None or template.text in _EVERY:
        return True
    if template.kind is Kind.LIST:
        return any(matches(item, label) for item in template.items)
    if label is None:
        return False
    regular = _REGULAR.fullmatch(template.text)
    if regular is None:
        return template.text == label
    try:
        return re.fullmatch(regular[1], label) is not None
    except re.error:
        return False


def fits(manifest: Node, labels: Mapping[str, str]) -> bool:
    """Whether a nucleus on a device with these labels takes the manifest. `runtime` is not looked at."""
    platform = manifest.find("Platform")
    return all(
        key.text == "runtime" or matches(value, labels.get(key.text))
        for key, value in (platform.entries if platform else ())
    )


def labels_of(platform: str, machine: str = "") -> dict[str, str]:
    """Greengrass's labels of a platform as Docker writes it; `machine` is `uname -m`, where it is known."""
    os, _, rest = platform.partition("/")
    architecture = rest.partition("/")[0]
    labels = {"os": os, "architecture": _ARCHITECTURES.get(architecture, architecture)}
    if machine.startswith("armv"):
        labels["architecture.detail"] = machine
    return labels


def images(recipe: Node, labels: Mapping[str, str]) -> tuple[ImageSpec, ...]:
    """The images of the first manifest that fits, as a nucleus chooses, and of `dockerImages`.

    Raises ReadError.
    """
    manifest = next((each for each in manifests(recipe) if fits(each, labels)), None)
    if manifest is None:
        wanted = "/".join(labels.values())
        raise ReadError(None, f"no manifest is for {wanted}; write one, or give --platform")
    found = [ImageSpec(uri.text.strip()) for uri in artifacts(manifest) if is_docker(uri.text)]
    listed = configuration(recipe, "dockerImages")
    if listed is not None:
        specs, problems = parse_dependent_images(listed.plain())
        for problem in problems:
            raise ReadError(entry_of(listed, problem.path).place, str(problem))
        found += specs
    if not found:
        raise ReadError(
            None,
            "it names no image: there is no docker: artifact in the manifest for"
            f" {labels['os']}/{labels['architecture']}, and no dockerImages in DefaultConfiguration",
        )
    return tuple(dict.fromkeys(found))


def labels_of_machine(machine: str) -> dict[str, str]:
    """The labels of a Linux device whose `uname -m` this is."""
    return labels_of(normalise_platform("linux", machine), machine.lower())


def entry_of(listed: Node, path: str) -> Node:
    """The entry of a list that a problem's path (`dockerImages[2].uri`) is about."""
    index = re.search(r"\[(\d+)\]", path)
    items = listed.items
    return items[int(index[1])] if index and int(index[1]) < len(items) else listed


def steps(recipe: Node) -> tuple[Step, ...]:
    """Every script, of the manifests and of the recipe's own `Lifecycle`, which those without one use."""
    found: list[Step] = []
    others = []
    for manifest in manifests(recipe):
        lifecycle = manifest.find("Lifecycle")
        if lifecycle is not None and lifecycle.entries:
            found += _steps(lifecycle, (manifest,), ())
        else:
            others.append(manifest)
    lifecycle = recipe.find("Lifecycle")
    if lifecycle is not None:
        found += _steps(lifecycle, tuple(others), ())
    return tuple(found)


def _steps(lifecycle: Node, of: tuple[Node, ...], selectors: tuple[str, ...]) -> Iterator[Step]:
    """Selectors (`all`, `linux`, …) may stand above the steps, below them, and below `Script`."""
    for item in lifecycle.items:
        yield from _steps(item, of, selectors)
    for key, value in lifecycle.entries:
        name = key.text.lower()
        if name in STEPS:
            for choice, body in _choices(value, selectors):
                yield from _scripts(name, key, body, of, choice)
        elif name != "setenv":
            yield from _steps(value, of, (*selectors, key.text))


def _choices(value: Node, selectors: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    keys = {key.text.lower() for key, _ in value.entries}
    if value.kind is not Kind.MAP or keys & {"script", "setenv", "timeout", "requiresprivilege"}:
        yield selectors, value
        return
    for key, body in value.entries:
        yield (*selectors, key.text), body


def _scripts(
    name: str, key: Node, body: Node, of: tuple[Node, ...], selectors: tuple[str, ...]
) -> Iterator[Step]:
    script = body if body.kind is Kind.SCALAR else body.find("Script")
    if script is not None and script.kind is Kind.MAP:
        for selector, each in script.entries:
            yield Step(name, key, body, each, of, (*selectors, selector.text))
    else:
        if script is not None and script.kind is not Kind.SCALAR:
            script = None
        yield Step(name, key, body, script, of, selectors)


def variables(owner: Node) -> Iterator[tuple[Node, Node]]:
    """Every environment variable under `Setenv` in the `Lifecycle` of a manifest, or of the recipe itself."""
    seen: set[int] = set()
    open_nodes = [owner.find("Lifecycle")]
    while open_nodes:
        node = open_nodes.pop(0)
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        open_nodes += node.items
        for key, value in node.entries:
            if key.text.lower() == "setenv":
                yield from (each for each in value.entries if each[1].kind is Kind.SCALAR)
            else:
                open_nodes.append(value)
