"""AWS clients with the device's own credentials: those that TES gives, else boto3's own."""

from __future__ import annotations

import os
from typing import Any

from dockermgr import tes

CONNECT_TIMEOUT_SECONDS = 15
READ_TIMEOUT_SECONDS = 30
"""botocore's 60 s each would make a lost packet look like a hang; the caller tries again anyway."""


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
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            # The caller retries, with everybody's back-off in one place.
            retries={"total_max_attempts": 1},
            **settings,
        ),
        **keys,
    )
