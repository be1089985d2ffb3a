"""Whose certificates AWS is believed by."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockermgr import aws


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_systems_authorities_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.touch()
    monkeypatch.setattr(aws, "_BUNDLES", ("/nowhere.crt", str(bundle)))
    assert aws._authorities() == str(bundle)
    monkeypatch.setattr(aws, "_BUNDLES", ())
    assert aws._authorities() is None
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert aws._authorities() == str(bundle)


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_those_that_boto3_is_given_come_first(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/etc/of-the-site.crt")
    assert aws._authorities() is None
