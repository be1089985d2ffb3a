"""What registries ask for, and where the answer may go."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockermgr.manifest import ManifestUnavailable
from dockermgr.registry import classify
from dockermgr.registry_auth import (
    Challenge,
    may_have_credential,
    parse_challenges,
    token_of,
    token_url,
)
from dockermgr.registry_transport import is_loopback, origin_of

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            (
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:library/nginx:pull,push"'
            ),
            [
                ("bearer", {
                    "realm": "https://auth.docker.io/token",
                    "service": "registry.docker.io",
                    "scope": "repository:library/nginx:pull,push",
                })
            ],
        ),
        (
            f'Basic realm="https://{ECR}/",service="ecr.amazonaws.com"',
            [("basic", {"realm": f"https://{ECR}/", "service": "ecr.amazonaws.com"})],
        ),
        ("Basic", [("basic", {})]),
        ('BASIC Realm=plain', [("basic", {"realm": "plain"})]),
        (
            'Bearer realm="https://a/t" , service=b, Basic realm="c"',
            [("bearer", {"realm": "https://a/t", "service": "b"}), ("basic", {"realm": "c"})],
        ),
        (r'Basic realm="a \"b\" \\ c"', [("basic", {"realm": r'a "b" \ c'})]),
        ('Basic realm="never ends', [("basic", {}), ]),
        ("", []),
        (",,,", []),
        ("=", []),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    found = parse_challenges([header])

    assert [(challenge.scheme, challenge.parameters) for challenge in found] == expected


def test_several_headers_are_several_challenges() -> None:
    found = parse_challenges(['Bearer realm="https://a/t"', 'Basic realm="b"'])

    assert [challenge.scheme for challenge in found] == ["bearer", "basic"]


@given(st.lists(st.text(alphabet='Bearerealm =",\\x', max_size=60), max_size=3))
def test_any_header_is_read(headers: list[str]) -> None:
    assert all(challenge.scheme for challenge in parse_challenges(headers))


@pytest.mark.parametrize(
    ("host", "realm", "may"),
    [
        ("registry.example.com", "https://registry.example.com/token", True),
        ("registry.example.com", "https://auth.example.com/token", True),
        ("docker.io", "https://auth.docker.io/token", True),
        (ECR, f"https://{ECR}/token", True),
        (ECR, f"https://{ECR.upper()}:443/token", True),
        (ECR, f"https://{ECR}:8443/token", False),
        (ECR, "https://auth.example.com/token", False),
        (ECR, f"https://{ECR}.example.com/token", False),
        (ECR, f"https://{ECR.replace('1234', '4321')}/token", False),
        ("public.ecr.aws", "https://public.ecr.aws/token/", True),
        ("public.ecr.aws", "https://auth.example.com/token", False),
    ],
)
def test_credentials_of_ecr_stay_with_ecr(host: str, realm: str, may: bool) -> None:
    own = origin_of(f"https://{host}")

    assert may_have_credential(classify(host), own, origin_of(realm)) is may


def test_a_token_is_asked_for_with_the_least_scope() -> None:
    challenge = Challenge(
        "bearer",
        {"realm": "https://auth.example.com/token?a=b#c", "service": "x y", "scope": "all:*:*"},
    )

    url = urllib.parse.urlsplit(token_url(challenge, "team/app"))

    assert (url.scheme, url.netloc, url.path) == ("https", "auth.example.com", "/token")
    assert urllib.parse.parse_qs(url.query) == {
        "a": ["b"], "service": ["x y"], "scope": ["repository:team/app:pull"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "url",
    ["", "auth.example.com", "ftp://a/b", "https://", "https://a:b@c/", "https://a:99999/",
     "https://[::1/", "file:///etc/passwd", "//a/b"],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ManifestUnavailable):
        token_url(Challenge("bearer", {"realm": url}), "app")


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"token": "abc"}, "abc"),
        ({"access_token": "abc"}, "abc"),
        ({"token": "", "access_token": "abc"}, "abc"),
        ({}, None),
        ({"token": 5}, None),
        ({"token": ["abc"]}, None),
        ({"token": "a\r\nX-Evil: 1"}, None),
        ({"token": "a b"}, None),
        ({"token": "a" * 40_000}, None),
    ],
)
def test_only_a_usable_token_is_taken(answer: dict[str, object], token: str | None) -> None:
    assert token_of(answer) == token


@pytest.mark.parametrize(
    ("url", "origin", "loopback"),
    [
        ("https://Registry.Example.com", ("https", "registry.example.com", 443), False),
        ("https://registry.example.com:5000/x", ("https", "registry.example.com", 5000), False),
        ("https://localhost:5000", ("https", "localhost", 5000), True),
        ("https://127.8.9.1", ("https", "127.8.9.1", 443), True),
        ("https://[::1]:5000", ("https", "[::1]", 5000), True),
        ("http://127.evil.example", ("http", "127.evil.example", 80), False),
        ("https://localhost.example.com", ("https", "localhost.example.com", 443), False),
        (r"https://evil.example.com\.example.com", ("https", "evil.example.com", 443), False),
    ],
)
def test_origins_tell_hosts_apart(url: str, origin: tuple[str, str, int], loopback: bool) -> None:
    found = origin_of(url)

    assert (found.scheme, found.host, found.port) == origin
    assert is_loopback(found) is loopback
