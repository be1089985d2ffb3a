"""Certificates that the engine refuses: until when, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.harness import Harness
from tests.integration.registry_faults import IMAGE, QUICK, errors_of, https_between
from tests.sandbox.certificates import Certificate
from tests.sandbox.device import ECR_HOST
from tests.sandbox.faults import certificates

pytestmark = pytest.mark.timeout(150)


def refused(harness: Harness, certificate: Certificate) -> dict[str, object]:
    """The error while the registry shows that certificate; the image is there once it is mended."""
    proxy = https_between(harness)
    good, proxy.certificate = proxy.certificate, certificate

    with harness.service({"images": [IMAGE], **QUICK}):
        retrying = harness.wait_for_image(IMAGE, "RETRYING")
        proxy.certificate = good
        harness.wait_for_image(IMAGE, "READY")

    assert errors_of(harness) == ["NETWORK_ERROR"]
    error = retrying["error"]
    assert isinstance(error, dict)
    return error


def test_a_certificate_that_nobody_trusts(harness: Harness, tmp_path: Path) -> None:
    error = refused(harness, certificates.of_unknown_authority(tmp_path, [ECR_HOST]))

    assert "certs.d" in str(error["hint"])


def test_a_certificate_that_has_expired(harness: Harness) -> None:
    error = refused(harness, certificates.expired(harness.device.authority, [ECR_HOST]))

    assert "is after" in str(error["message"])
    assert "this device's clock" in str(error["hint"])


def test_a_certificate_that_is_not_valid_yet(harness: Harness) -> None:
    error = refused(harness, certificates.not_yet_valid(harness.device.authority, [ECR_HOST]))

    assert "is before" in str(error["message"])
    assert "this device's clock" in str(error["hint"])


def test_a_certificate_of_another_name(harness: Harness) -> None:
    error = refused(harness, certificates.of_wrong_name(harness.device.authority))

    assert certificates.WRONG_NAME in str(error["message"])
    assert "another server answers" in str(error["hint"])
