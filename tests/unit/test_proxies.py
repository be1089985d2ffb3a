"""Proxies: which leads where, what their refusals mean, and that their logins never show."""

from __future__ import annotations

import pytest

from dockermgr.errors import DockermgrError, ErrorCode, Retry
from dockermgr.proxies import Proxies, trouble, with_ways, without_login

HOST = "registry.example.com"
PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    "written",
    [
        PROXY,
        f"{PROXY}/",
        "proxy.example.com:3128",
        "http://user:pass%2Fword@proxy.example.com:3128",
        "http://us@er:p@ss@proxy.example.com:3128/",
        "http://xxxxx:xxxxx@proxy.example.com:3128",
    ],
)
def test_a_proxy_is_known_without_its_login_however_it_is_written(written: str) -> None:
    assert Proxies.of(written, "").to(HOST) == PROXY


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", False),
        ("localhost", False),
        ("example.com", True),
        (".example.com", True),
        ("other.example.com,registry.example.com", True),
        ("*", True),
    ],
)
def test_what_no_proxy_names_has_none(no_proxy: str, direct: bool) -> None:
    assert (Proxies.of(PROXY, no_proxy).to(f"{HOST}:5000") == "") is direct


def test_this_machine_is_reached_directly() -> None:
    for host in ("localhost:5000", "127.0.0.2"):
        assert Proxies.of(PROXY, "").to(host) == ""


def test_variables_in_small_letters_come_first_and_all_proxy_does_not_count() -> None:
    both = {
        "HTTPS_PROXY": "http://other.example.com",
        "https_proxy": PROXY,
        "NO_PROXY": "a",
        "no_proxy": "b",
    }
    assert Proxies.of_environment(both) == Proxies(PROXY, "b")
    assert Proxies.of_environment({"HTTPS_PROXY": PROXY, "https_proxy": ""}) == Proxies(PROXY)
    assert Proxies.of_environment({"ALL_PROXY": PROXY}) == Proxies()


def test_a_text_loses_logins_and_nothing_else() -> None:
    text = "Get https://u:p@a.example.com/v2/app@sha256:12 via HTTP://x@b, http://c/d@e"
    assert (
        without_login(text)
        == "Get https://a.example.com/v2/app@sha256:12 via HTTP://b, http://c/d@e"
    )


@pytest.mark.parametrize(
    ("said", "words", "hint", "retry"),
    [
        ("Tunnel connection failed: 407 Auth", "answered HTTP 407", "login", Retry.LIMITED),
        ("Tunnel connection failed: 403 No", "answered HTTP 403", "allow", Retry.UNTIL_MENDED),
        ("Tunnel connection failed: 502 Bad", "answered HTTP 502", "its own log", Retry.UNTIL_MENDED),
        ("x: [Errno 111] Connection refused')", "(Connection refused)", "networkProxy", Retry.UNTIL_MENDED),
        ("([Errno -2] Name or service not known)\")", "(Name or service not known)", "networkProxy",
         Retry.UNTIL_MENDED),
        ("timed out", "(no answer)", "networkProxy", Retry.UNTIL_MENDED),
    ],
)  # fmt: skip
def test_a_proxys_trouble_is_told_with_its_mend(
    said: str, words: str, hint: str, retry: Retry
) -> None:
    error = trouble("S3 cannot be reached", PROXY, said)
    assert error.code is ErrorCode.NETWORK_ERROR
    assert error.message.startswith("S3 cannot be reached: ")
    assert f"the proxy {PROXY} " in error.message
    assert words in error.message
    assert hint in error.hint
    assert error.retry is retry


def told(own: str, engines: str, message: str = "no route to host") -> str:
    error = DockermgrError(ErrorCode.NETWORK_ERROR, message, hint="mend it", retry=Retry.LIMITED)
    found = with_ways(error, HOST, Proxies.of(own, ""), Proxies.of(engines, ""))
    assert (found.message, found.retry) == (message, Retry.LIMITED)
    return found.hint


def test_different_ways_are_told_first() -> None:
    assert told(PROXY, "").startswith(
        f"this component reaches {HOST} through the proxy {PROXY}, and the engine without a proxy: give"
    )
    assert told("", PROXY).startswith(
        f"this component reaches {HOST} without a proxy, and the engine through the proxy {PROXY}: give"
    )
    assert told(PROXY, "http://other:1").endswith("; else mend it")


def test_the_same_way_is_told_once_and_the_direct_one_is_not() -> None:
    masked = PROXY.replace("//", "//xxxxx:xxxxx@")
    assert told(PROXY, masked) == f"mend it; the engine reaches {HOST} through the proxy {PROXY}"
    assert told(PROXY, masked, f"the proxy {PROXY} answered HTTP 407") == "mend it"
    assert told("", "") == "mend it"
