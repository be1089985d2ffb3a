"""What lint looks at: a recipe, its scripts as commands, and the images that it names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from dockermgr import recipe as recipes
from dockermgr.config import parse_dependent_images
from dockermgr.lint.calls import (
    Call,
    DockerRun,
    docker_run,
    docker_words,
    dockermgr_call,
    past_options,
)
from dockermgr.lint.findings import Finding, Nucleus, Rule, Severity, finding
from dockermgr.lint.shell import Command, commands
from dockermgr.lint.words import Word
from dockermgr.nodes import Kind, Node
from dockermgr.reference import InvalidReference, Reference, parse_reference, parse_uri

MANAGER = "io.dockermgr.DockerApplicationManager"
AWS_MANAGER = "aws.greengrass.DockerApplicationManager"
_LITE = ("*", "aws_nucleus_lite")
"""What `runtime` says of a manifest for Lite (its recipe.c)."""
_LOCAL = frozenset({"load", "build", "import", "tag", "commit", "buildx"})
"""Docker's commands that make images which no registry need have."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user said of where the recipe is to run; empty: nothing."""

    nucleus: Nucleus = Nucleus.BOTH
    region: str = ""
    account: str = ""


class Origin(str, Enum):
    """Where an image is named."""

    ARTIFACT = "artifact"
    LISTED = "dockerImages"
    DOCKERMGR = "dockermgr"
    DOCKER_RUN = "docker run"
    DOCKER_PULL = "docker pull"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the recipe names; without a reference when it cannot be read, or is filled in later."""

    origin: Origin
    text: str
    node: Node
    offset: int | None = None
    reference: Reference | None = None
    problem: str = ""
    is_never_pulled: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """A script of a POSIX shell, and what was found in it."""

    step: recipes.Step
    node: Node
    commands: Sequence[Command]

    @property
    def runs(self) -> Iterator[tuple[Command, DockerRun]]:
        """Its `docker run`s."""
        for command in self.commands:
            if (run := docker_run(command)) is not None:
                yield command, run

    @property
    def calls(self) -> Iterator[tuple[Command, Call]]:
        """Its calls of dockermgr."""
        for command in self.commands:
            if (call := dockermgr_call(command)) is not None:
                yield command, call

    def finding(self, rule: Rule, at: Word | Command, message: str, mend: str) -> Finding:
        """A finding at a word or a command."""
        return finding(rule, self.node, message, mend, offset=at.start)


@dataclass(frozen=True, slots=True)
class Subject:
    """A recipe, read once for all rules."""

    recipe: Node
    options: Options
    manifests: Sequence[Node]
    steps: Sequence[recipes.Step]
    scripts: Sequence[Script]
    images: Sequence[Image]
    dependencies: frozenset[str]
    makes_images: bool
    """Some script loads or builds images: a name in it need not be a registry's."""

    @property
    def uses_containers(self) -> bool:
        """Whether it has anything to do with containers."""
        return bool(
            self.images
            or self.dependencies & {MANAGER, AWS_MANAGER}
            or recipes.configuration(self.recipe, "dockerImages")
            or any(
                docker_words(c)[0] or dockermgr_call(c) for s in self.scripts for c in s.commands
            )
        )

    def for_lite(self, manifests: Iterable[Node]) -> Severity | None:
        """How bad it is if Lite cannot use one of them; None where Lite's rules are not theirs.

        WARNING where all of them leave it open what they are for.
        """
        if self.options.nucleus is Nucleus.JAVA:
            return None
        of_linux = [manifest for manifest in manifests if _takes(manifest, "linux")]
        if (of_linux and self.options.nucleus is Nucleus.LITE) or any(map(says_lite, of_linux)):
            return Severity.ERROR
        return Severity.WARNING if any(map(self.leaves_lite_open, of_linux)) else None

    def leaves_lite_open(self, manifest: Node) -> bool:
        """Whether a manifest says nothing of nuclei, and there is no other for Lite on these devices.

        Lite passes over it: whoever means Lite, too, has all the rest to mend as well. Only in
        recipes that use containers, or are for Lite elsewhere.
        """
        return (
            manifest.find("Platform", "runtime") is None
            and _takes(manifest, "linux")
            and (
                self.options.nucleus is Nucleus.LITE
                or self.uses_containers
                or any(map(says_lite, self.manifests))
            )
            and not any(_covers(e, manifest) for e in self.manifests if e is not manifest)
        )


def subject(recipe: Node, options: Options) -> Subject:
    """Reads all that the rules need."""
    manifests, steps = recipes.manifests(recipe), recipes.steps(recipe)
    scripts = [
        Script(step, step.script, commands(step.script.text))
        for step in steps
        if step.script is not None and _is_posix(step)
    ]
    return Subject(
        recipe,
        options,
        manifests,
        steps,
        scripts,
        (*_artifacts(manifests), *_listed(recipe), *_in_scripts(scripts)),
        frozenset(key.text for key, _ in recipes.dependencies(recipe)),
        any(
            docker_words(command)[0] in _LOCAL
            or getattr(dockermgr_call(command), "verb", "") == "load"
            for script in scripts
            for command in script.commands
        ),
    )


def says_lite(manifest: Node) -> bool:
    """Whether a manifest says that it is for Lite, perhaps among others."""
    return manifest.word("Platform", "runtime") in _LITE


def _covers(other: Node, manifest: Node) -> bool:
    """Whether `other` is Lite's, for the devices of `manifest`."""
    architecture = manifest.word("Platform", "architecture") or None
    return (
        says_lite(other)
        and _takes(other, "linux")
        and recipes.matches(other.find("Platform", "architecture"), architecture)
    )


def _takes(manifest: Node, os: str) -> bool:
    return recipes.matches(manifest.find("Platform", "os"), os)


def _is_posix(step: recipes.Step) -> bool:
    """Whether a step's script is for a POSIX shell and not for Windows's."""
    if "windows" in map(str.lower, step.selectors):
        return False
    return not step.manifests or any(
        _takes(each, os) for each in step.manifests for os in ("linux", "darwin")
    )


def _artifacts(manifests: Sequence[Node]) -> Iterator[Image]:
    for manifest in manifests:
        for uri in recipes.artifacts(manifest):
            if recipes.is_docker(uri.text):
                yield _image(Origin.ARTIFACT, uri.text.strip(), uri)


def _listed(recipe: Node) -> Iterator[Image]:
    listed = recipes.configuration(recipe, "dockerImages")
    for item in listed.items if listed else ():
        uri = item if item.kind is Kind.SCALAR else item.find("uri")
        if uri is not None and uri.kind is Kind.SCALAR and uri.text:
            yield _image(Origin.LISTED, uri.text.strip(), uri)


def _in_scripts(scripts: Sequence[Script]) -> Iterator[Image]:
    for script in scripts:
        for _, run in script.runs:
            if run.image is not None:
                is_never = run.values.get("pull", [""])[-1] == "never"
                yield _word(Origin.DOCKER_RUN, run.image, script, is_never=is_never)
        for _, call in script.calls:
            is_never = any(word.text.lower() == "never" for word in call.values("--policy"))
            named = {"run": call.words[:1], "pull": call.words}.get(call.verb, ())
            for word in named:
                yield _word(Origin.DOCKERMGR, word, script, is_never=is_never)
        for command in script.commands:
            verb, rest = docker_words(command)
            if verb == "pull":
                for word in past_options(rest, frozenset({"--platform"}))[:1]:
                    yield _word(Origin.DOCKER_PULL, word, script)


def _word(origin: Origin, word: Word, script: Script, *, is_never: bool = False) -> Image:
    return _image(origin, word.text, script.node, word.start, is_never=is_never)


def _image(
    origin: Origin, text: str, node: Node, offset: int | None = None, *, is_never: bool = False
) -> Image:
    if not Word(text, 0).is_literal:
        return Image(origin, text, node, offset, is_never_pulled=is_never)
    is_reference = origin in (Origin.DOCKER_RUN, Origin.DOCKER_PULL)
    try:
        reference = parse_reference(text) if is_reference else parse_uri(text)
    except InvalidReference as error:
        return Image(origin, text, node, offset, problem=str(error))
    return Image(origin, text, node, offset, reference, is_never_pulled=is_never)


def list_problems(recipe: Node) -> Iterator[tuple[Node, str]]:
    """The first thing that is wrong with the form of an entry of `dockerImages`, and the entry."""
    listed = recipes.configuration(recipe, "dockerImages")
    found: dict[Node, str] = {}
    if listed is not None:
        for problem in parse_dependent_images(listed.plain())[1]:
            found.setdefault(recipes.entry_of(listed, problem.path), str(problem))
    yield from found.items()
