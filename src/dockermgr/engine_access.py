"""Why an engine cannot be asked: from the system's error to one that names user, group and command."""

from __future__ import annotations

import contextlib
import errno
import getpass
import grp
import os
from collections.abc import Iterator

from dockermgr.errors import DockermgrError, ErrorCode, Retry


def access_error(error: BaseException) -> DockermgrError:
    """USER_NOT_AUTHORIZED_FOR_DOCKER, or DOCKER_SERVICE_UNAVAILABLE, for what kept us from the engine."""
    number = _errno_in(error)
    if number in {errno.EACCES, errno.EPERM}:
        return _not_allowed()
    if number == errno.ENOENT:
        return _unavailable("there is no Docker Engine at its socket", "install and start Docker")
    reason = os.strerror(number) if number else type(error).__name__
    return _unavailable(
        f"the Docker Engine does not answer ({reason})",
        "start it (systemctl start docker), or see why it stopped (journalctl -u docker)",
    )


def _unavailable(message: str, hint: str) -> DockermgrError:
    return DockermgrError(
        ErrorCode.DOCKER_SERVICE_UNAVAILABLE, message, hint=hint, retry=Retry.UNTIL_MENDED
    )


def _not_allowed() -> DockermgrError:
    user = _user_name()
    groups = ", ".join(sorted(_group_names())) or "none"
    return DockermgrError(
        ErrorCode.USER_NOT_AUTHORIZED_FOR_DOCKER,
        f"user {user} (groups: {groups}) may not use the Docker Engine",
        hint=f"run: sudo usermod -aG docker {user}; then restart the Greengrass nucleus",
        # The socket's owner may be set right while we wait, by the engine's own start.
        retry=Retry.LIMITED,
    )


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.geteuid())


def _group_names() -> Iterator[str]:
    for number in os.getgroups():
        with contextlib.suppress(KeyError):  # a group without a name
            yield grp.getgrgid(number).gr_name


def _errno_in(error: BaseException) -> int | None:
    """requests and urllib3 wrap the system's error several times, in causes and in arguments."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        item = pending.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, OSError) and isinstance(item.errno, int):
            return item.errno
        pending += [item.__cause__, item.__context__, *item.args, getattr(item, "reason", None)]
    return None
