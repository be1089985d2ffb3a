"""AWS clients with the device's own credentials: those that TES gives, else boto3's own."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

from dockermgr import tes
from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.proxies import Proxies, trouble, without_login

CONNECT_TIMEOUT_SECONDS = 15
READ_TIMEOUT_SECONDS = 30
"""botocore's 60 s each would make a lost packet look like a hang; the caller tries again anyway."""

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Yocto
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # SUSE
)


def device_keys() -> dict[str, str]:
    """What `aws_client` signs with; empty where boto3 finds credentials of its own.

    Raises a CREDENTIAL_ENDPOINT code when TES has none for us.
    """
    uri = tes.endpoint_of()
    if uri is None:
        return {}
    found = tes.fetch_credentials(uri, os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", ""))
    return {
        "aws_access_key_id": found.access_key_id,
        "aws_secret_access_key": found.secret_access_key,
        "aws_session_token": found.session_token,
    }


def aws_client(service: str, region: str | None, keys: dict[str, str], **settings: Any) -> Any:
    """A boto3 client; `region` None is the environment's, `settings` are botocore's."""
    import boto3  # with its client 26 MB and 180 ms
    from botocore.config import Config

    return boto3.session.Session().client(
        service,
        region_name=region,
        verify=_authorities(),
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            # The caller retries, with everybody's back-off in one place.
            retries={"total_max_attempts": 1},
            **settings,
        ),
        **keys,
    )


def unreachable(what: str, error: Exception, hint: str) -> DockermgrError:
    """NETWORK_ERROR for what botocore could not talk to; `what` begins the sentence.

    `hint` is for a failure without a proxy.
    """
    from botocore.exceptions import ProxyConnectionError

    if isinstance(error, ProxyConnectionError):
        proxy = Proxies.of_environment(os.environ).https_proxy
        return trouble(what, proxy, str(error.kwargs["error"]))
    return DockermgrError(
        ErrorCode.NETWORK_ERROR,
        f"{what}: {without_login(str(error))}",
        hint=hint,
        retry=Retry.UNTIL_MENDED,
    )


def _authorities() -> str | None:
    """The system's, as the engine goes by them: a proxy that looks into TLS has its own there.

    None where boto3 has been given some, or is left with those that it brings along.
    """
    if os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE"):
        return None
    paths = (os.environ.get(ssl.get_default_verify_paths().openssl_cafile_env, ""), *_BUNDLES)
    return next((path for path in paths if path and Path(path).is_file()), None)
