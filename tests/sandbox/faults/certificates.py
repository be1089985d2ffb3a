"""Certificates that a client must refuse, and the day on which it may not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.sandbox.certificates import Certificate, CertificateAuthority

WRONG_NAME = "elsewhere.example.com"
_DAY = dt.timedelta(days=1)


def of_unknown_authority(folder: Path, names: Sequence[str]) -> Certificate:
    """As of a proxy that looks into TLS: right in all but who has signed it."""
    return CertificateAuthority(folder / "stranger", "stranger").issue(names)


def of_wrong_name(authority: CertificateAuthority) -> Certificate:
    """As of a captive portal, or of a DNS entry that leads to another server."""
    return authority.issue([WRONG_NAME])


def expired(authority: CertificateAuthority, names: Sequence[str]) -> Certificate:
    """Its time is over: or the client's clock is ahead."""
    now = dt.datetime.now(dt.timezone.utc)
    return _dated(authority, names, "expired", now - 20 * _DAY, now - 10 * _DAY)


def not_yet_valid(authority: CertificateAuthority, names: Sequence[str]) -> Certificate:
    """Its time has not come: or the client's clock is behind, as after a boot without network."""
    now = dt.datetime.now(dt.timezone.utc)
    return _dated(authority, names, "not-yet-valid", now + 10 * _DAY, now + 20 * _DAY)


def _dated(
    authority: CertificateAuthority,
    names: Sequence[str],
    what: str,
    begin: dt.datetime,
    end: dt.datetime,
) -> Certificate:
    """A certificate of the authority's, signed anew with other dates."""
    # Issued for a name of its own, so that its files replace no others.
    issued = authority.issue([f"{what}.{names[0]}", *names])
    valid = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
    builder = x509.CertificateBuilder(
        issuer_name=valid.issuer,
        subject_name=valid.subject,
        public_key=valid.public_key(),
        serial_number=valid.serial_number,
        not_valid_before=begin,
        not_valid_after=end,
        extensions=list(valid.extensions),
    )
    dated = builder.sign(authority._key, hashes.SHA256())
    issued.certificate.write_bytes(dated.public_bytes(serialization.Encoding.PEM))
    return issued
