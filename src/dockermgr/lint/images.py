"""Rules about images: what they are called, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator

from dockermgr.describe import registry_warnings
from dockermgr.lint.findings import Finding, Rule, Severity, finding
from dockermgr.lint.subject import AWS_MANAGER, Image, Origin, Subject, list_problems
from dockermgr.reference import DEFAULT_TAG, Reference
from dockermgr.registry import RegistryKind, classify

INVALID_IMAGE = Rule("invalid-image", Severity.ERROR, "No image can be called this")
INVALID_LIST = Rule("invalid-docker-images", Severity.ERROR, "dockerImages cannot be read")
MUTABLE_IMAGE = Rule("mutable-image", Severity.WARNING, "The image is another one tomorrow")
REGISTRY_HOST = Rule("registry-host", Severity.WARNING, "The registry's name looks mistyped")
OTHER_REGION = Rule("other-region", Severity.WARNING, "The image is in another Region")
OTHER_ACCOUNT = Rule("other-account", Severity.WARNING, "The image is in another account")
DOCKER_ARTIFACT = Rule("docker-artifact", Severity.ERROR, "Nobody pulls this artifact")
UNLISTED_IMAGE = Rule("unlisted-image", Severity.WARNING, "Nothing brings the image here")

RULES = (
    *(INVALID_IMAGE, INVALID_LIST, MUTABLE_IMAGE, REGISTRY_HOST, OTHER_REGION, OTHER_ACCOUNT),
    *(DOCKER_ARTIFACT, UNLISTED_IMAGE),
)


def check(subject: Subject) -> Iterator[Finding]:
    """All of them."""
    for node, problem in list_problems(subject.recipe):
        yield finding(INVALID_LIST, node, problem, 'write "docker:<image>", or a map with uri')
    for image in subject.images:
        if image.problem:
            message, semicolon, mend = image.problem.partition("; ")
            mend = mend if semicolon else "write it as docker:[registry/]repository[:tag][@digest]"
            yield finding(INVALID_IMAGE, image.node, message, mend, offset=image.offset)
        if image.origin is Origin.ARTIFACT and AWS_MANAGER not in subject.dependencies:
            yield finding(
                DOCKER_ARTIFACT,
                image.node,
                f"the nucleus pulls docker: artifacts itself, and Java refuses the component without"
                f" {AWS_MANAGER}; dockermgr takes no part in it",
                "move it to dockerImages under DefaultConfiguration, or to `dockermgr run` in a script",
            )
        if image.reference is not None:
            yield from _named(subject, image, image.reference)
    yield from _unlisted(subject)


def _named(subject: Subject, image: Image, reference: Reference) -> Iterator[Finding]:
    registry = classify(reference.registry)
    is_local = subject.makes_images and (image.is_never_pulled or image.origin is Origin.DOCKER_RUN)
    if not is_local and reference.digest is None and reference.effective_tag == DEFAULT_TAG:
        what = "the tag latest" if reference.tag else "no tag, so latest,"
        again = {
            Origin.DOCKER_RUN: "docker run keeps to the one that it once pulled",
            Origin.ARTIFACT: "the nucleus pulls it again at each deployment",
        }.get(image.origin, "it is asked for again at each start")
        yield finding(
            MUTABLE_IMAGE,
            image.node,
            f"{reference.familiar_name} has {what} and is whatever was pushed last; {again}",
            "name a version or a digest",
            offset=image.offset,
        )
    for warning in registry_warnings(reference, registry):
        message, _, mend = warning.partition(". ")
        yield finding(REGISTRY_HOST, image.node, message, _sentence(mend), offset=image.offset)
    if registry.kind is RegistryKind.ECR_PRIVATE:
        yield from _elsewhere(subject, image, registry.region or "", registry.account or "")


def _sentence(text: str) -> str:
    """As a mend is written: no capital, no full stop."""
    return text[:1].lower() + text[1:].removesuffix(".")


def _elsewhere(subject: Subject, image: Image, region: str, account: str) -> Iterator[Finding]:
    wanted = subject.options
    if wanted.region and region != wanted.region:
        yield finding(
            OTHER_REGION,
            image.node,
            f"the image is in {region}, the device in {wanted.region}: each pull crosses Regions, and for"
            " the nucleus's own pulls AWS asks for one Region",
            f"replicate the repository to {wanted.region}, or correct the host",
            offset=image.offset,
        )
    if wanted.account and account != wanted.account:
        yield finding(
            OTHER_ACCOUNT,
            image.node,
            f"the image is in account {account}, the device in {wanted.account}: the repository's own"
            " policy must allow it",
            "allow the device's account in the repository's policy, or correct the host",
            offset=image.offset,
        )


def _unlisted(subject: Subject) -> Iterator[Finding]:
    """Images of a bare `docker run`: they are to be here already, or docker pulls them in its own way."""
    if subject.makes_images:
        return
    brought = {
        (image.reference.name, image.reference.pull_selector)
        for image in subject.images
        if image.reference is not None and image.origin is not Origin.DOCKER_RUN
    }
    if any(
        not image.reference for image in subject.images if image.origin is not Origin.DOCKER_RUN
    ):
        return  # one that is filled in later may be the very one
    for image in subject.images:
        reference = image.reference
        if image.origin is not Origin.DOCKER_RUN or reference is None:
            continue
        if (reference.name, reference.pull_selector) not in brought:
            yield finding(
                UNLISTED_IMAGE,
                image.node,
                f"nothing brings {image.text} here: docker run pulls it once, without retries and"
                " without the device's credentials",
                "list it in dockerImages under DefaultConfiguration, or run it with `dockermgr run`",
                offset=image.offset,
            )
