"""Keeps secrets out of every log line, whoever writes it."""

from __future__ import annotations

import logging
import threading

MASK = "***"
_SHORTEST_SECRET = 4
"""Shorter strings are not masked: they would blank out half of every line and protect nothing."""

_secrets: set[str] = set()
_lock = threading.Lock()


def remember_secret(secret: str) -> None:
    """From now on `secret` is masked in all that passes `redact`."""
    if len(secret) >= _SHORTEST_SECRET:
        with _lock:
            _secrets.add(secret)


def forget_secret(secret: str) -> None:
    """`secret` is no longer in use (a token that was replaced): keeps the list short."""
    with _lock:
        _secrets.discard(secret)


def redact(text: str) -> str:
    """`text` with every remembered secret masked."""
    with _lock:
        # A secret may be a part of another one.
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


class RedactingFormatter(logging.Formatter):
    """Masks the finished line, so that arguments, exceptions and stack traces are covered too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logging(level: int) -> None:
    """One redacting handler on the root logger, to stderr, one line an event."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The libraries say at INFO and WARNING what we report in our own words.
    for name in ("awsiot", "botocore", "urllib3", "docker"):
        logging.getLogger(name).setLevel(max(level, logging.ERROR))
