"""The reference grammar, against what the engine reads references with: distribution/reference."""

from __future__ import annotations

import re
import time
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockermgr.reference import InvalidReference, Reference, parse_reference, parse_uri

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA384 = "sha384:" + "0123456789abcdef" * 6
SHA512 = "sha512:" + "0123456789abcdef" * 8
IMAGE_ID = "0123456789abcdef" * 4

# --- what is read, and how -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io", "library/nginx", None, None),
        ("nginx:1.27", "docker.io", "library/nginx", "1.27", None),
        ("nginx:MixedCase", "docker.io", "library/nginx", "MixedCase", None),
        ("nginx:_x", "docker.io", "library/nginx", "_x", None),
        (f"nginx@{SHA256}", "docker.io", "library/nginx", None, SHA256),
        (f"nginx:1.27@{SHA256}", "docker.io", "library/nginx", "1.27", SHA256),
        (f"nginx@{SHA384}", "docker.io", "library/nginx", None, SHA384),
        (f"nginx@{SHA512}", "docker.io", "library/nginx", None, SHA512),
        ("example/app", "docker.io", "example/app", None, None),
        ("my_org/app:1", "docker.io", "my_org/app", "1", None),
        ("example/team/app", "docker.io", "example/team/app", None, None),
        ("docker.io/nginx", "docker.io", "library/nginx", None, None),
        ("docker.io/library/nginx", "docker.io", "library/nginx", None, None),
        ("docker.io/example/app:2", "docker.io", "example/app", "2", None),
        ("index.docker.io/nginx", "docker.io", "library/nginx", None, None),
        ("index.docker.io/example/app", "docker.io", "example/app", None, None),
        ("library/nginx", "docker.io", "library/nginx", None, None),
        # Without a slash it is never a registry, whatever it looks like.
        ("localhost", "docker.io", "library/localhost", None, None),
        ("localhost:5000", "docker.io", "library/localhost", "5000", None),
        ("registry.example.com:5000", "docker.io", "library/registry.example.com", "5000", None),
        ("192.0.2.7", "docker.io", "library/192.0.2.7", None, None),
        ("under_score.example.com:80", "docker.io", "library/under_score.example.com", "80", None),
        # Before a slash it is one with a dot, a colon or upper case, or as localhost.
        ("localhost/app", "localhost", "app", None, None),
        ("localhost:5000/app:1", "localhost:5000", "app", "1", None),
        ("host:5000/app", "host:5000", "app", None, None),
        ("registry.example.com/app", "registry.example.com", "app", None, None),
        ("registry.example.com:5000/a/b:1", "registry.example.com:5000", "a/b", "1", None),
        (f"registry.example.com/a:1@{SHA256}", "registry.example.com", "a", "1", SHA256),
        ("UPPER/app", "UPPER", "app", None, None),
        ("Example/app", "Example", "app", None, None),
        ("Registry.Example.com/app", "Registry.Example.com", "app", None, None),
        ("xn--n3h.example.com/app:xn--n3h", "xn--n3h.example.com", "app", "xn--n3h", None),
        ("a--b.example.com/app", "a--b.example.com", "app", None, None),
        ("0101.example/app", "0101.example", "app", None, None),
        ("192.0.2.7/app", "192.0.2.7", "app", None, None),
        ("192.0.2.7:8080/app:8081", "192.0.2.7:8080", "app", "8081", None),
        ("[::1]/app", "[::1]", "app", None, None),
        ("[::1]:5000/app", "[::1]:5000", "app", None, None),
        ("[2001:DB8::]:5000/a/b:1", "[2001:DB8::]:5000", "a/b", "1", None),
        (f"[2001:db8:1:2:3:4:5:6]/app@{SHA256}", "[2001:db8:1:2:3:4:5:6]", "app", None, SHA256),
        ("host:1/app", "host:1", "app", None, None),
        ("host:65535/app", "host:65535", "app", None, None),
        ("host:005000/app", "host:005000", "app", None, None),
        # Separators inside a part of the path.
        ("a.b/c", "a.b", "c", None, None),
        ("example.com/a.b_c__d-e---f", "example.com", "a.b_c__d-e---f", None, None),
        ("example.com/b.example.org/app", "example.com", "b.example.org/app", None, None),
        ("do__ck--er/x", "docker.io", "do__ck--er/x", None, None),
        # An image id is no name, but a repository may look like one when its place is clear.
        (f"docker.io/{IMAGE_ID}", "docker.io", f"library/{IMAGE_ID}", None, None),
        (f"{IMAGE_ID}:1", "docker.io", f"library/{IMAGE_ID}", "1", None),
        (IMAGE_ID[1:], "docker.io", f"library/{IMAGE_ID[1:]}", None, None),
    ],
)
def test_parts(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    assert parse_reference(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "nginx:" + "t" * 128,
        "example.com/" + "a" * 255 + ":1",
        "a/" * 127 + "a:1",
        "a" * (255 - len("library/")),
        ".".join(["a" * 61] * 4) + ".b.cd/app",
    ],
)
def test_longest(text: str) -> None:
    assert str(parse_reference(text)).endswith(text if ":" in text else f"{text}:latest")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (":1", "repository is missing"),
        (f"@{SHA256}", "repository is missing"),
        ("docker.io/", "repository is missing"),
        ("registry.example.com/", "repository is missing"),
        ("registry.example.com/:1", "repository is missing"),
        ("example/", "empty part"),
        ("/nginx", "empty part"),
        ("example//app", "empty part"),
        ("docker.io//app", "empty part"),
        ("registry.example.com/a///b", "empty part"),
        ("Nginx", "upper case in 'Nginx'; write 'nginx'"),
        ("example/App:1", "upper case in 'App'; write 'app'"),
        ("registry.example.com/a/B/c", "upper case in 'B'; write 'b'"),
        ("-nginx", "'-nginx' in the repository"),
        ("nginx-", "'nginx-' in the repository"),
        ("-example/app", "'-example' in the repository"),
        ("_example/app", "'_example' in the repository"),
        ("a..b", "'a..b' in the repository"),
        ("a___b", "'a___b' in the repository"),
        ("a_.b", "'a_.b' in the repository"),
        ("a-.b", "'a-.b' in the repository"),
        ("____/____", "in the repository"),
        ("example.com/.a", "'.a' in the repository"),
        ("aa/a$$^/aa", "'a$$^' in the repository"),
        ("a" * 248, "256 characters, more than 255"),
        ("example.com/" + "a" * 256, "256 characters, more than 255"),
        ("a/" * 128 + "a", "257 characters, more than 255"),
        ("nginx:", "tag after ':' is missing"),
        (f"nginx:@{SHA256}", "tag after ':' is missing"),
        ("nginx:.1", "tag '.1' is not valid"),
        ("nginx:-1", "tag '-1' is not valid"),
        ("nginx:1~2", "tag '1~2' is not valid"),
        ("nginx:1:2", "tag '1:2' is not valid"),
        ("nginx:" + "t" * 129, "tag has 129 characters, more than 128"),
        ("nginx@", "algorithm '' is none of sha256, sha384, sha512"),
        ("nginx@bad", "algorithm 'bad' is none"),
        ("nginx@md5:" + "a" * 32, "algorithm 'md5' is none"),
        ("nginx@SHA256:" + "a" * 64, "algorithm 'SHA256' is none"),
        ("nginx@sha256+b64:" + "a" * 64, "algorithm 'sha256+b64' is none"),
        (f"nginx@{SHA256[:-1]}", "63 digits in place of 64"),
        (f"nginx@{SHA256}0", "65 digits in place of 64"),
        (f"nginx@{SHA512[:-64]}", "64 digits in place of 128"),
        (f"nginx@sha256:{'A' * 64}", "other characters than 0-9 and a-f"),
        (f"nginx@sha256:{'g' * 64}", "other characters than 0-9 and a-f"),
        (f"nginx@{SHA256}@{SHA256}", "digits in place of 64"),
        (IMAGE_ID, "image's id"),
        ("a..b/c", "registry 'a..b' is no host name"),
        ("a-.b/c", "registry 'a-.b' is no host name"),
        ("-a.b/c", "registry '-a.b' is no host name"),
        (".a/c", "registry '.a' is no host name"),
        ("example.com./app", "registry 'example.com.' is no host name"),
        ("under_score.example.com/app", "registry 'under_score.example.com' is no host name"),
        ("under_score:80/app", "registry 'under_score' is no host name"),
        ("UPPER_CASE/app", "registry 'UPPER_CASE' is no host name"),
        (":5000/app", "registry '' is no host name"),
        ("host:/app", "port '' of the registry is no number"),
        ("host:http/app", "port 'http' of the registry is no number"),
        ("nginx:feature/x", "a tag has no slash"),
        ("2001:db8::1:5000/app", "IPv6 address needs brackets"),
        ("host:0/app", "port '0' of the registry is not between 1 and 65535"),
        ("host:000/app", "port '000' of the registry is not between"),
        ("host:65536/app", "port '65536' of the registry is not between"),
        ("host:" + "9" * 5000 + "/app", "of the registry is not between"),
        ("[::1]", "'[' in the repository"),
        ("[::1]:5000", "'[' in the repository"),
        ("[]/app", "'[]' in the repository"),
        ("[]:80/app", "registry '[]' is no host name"),
        ("[::1/app", "registry '[::1' is no host name"),
        ("[::1]5000/app", "registry '[::1]5000' is no host name"),
        ("[::1]::5000/app", "port ':5000' of the registry is no number"),
        ("[fe80::1%eth0]:5000/app", "registry '[fe80::1%eth0]' is no host name"),
        ("[2001:db8::192.0.2.33]/app", "is no host name"),
        ("a" * 250 + ".com/app", "254 characters, more than 253"),
        ("https://registry.example.com/app", "no scheme; remove https://"),
        (" nginx", "character 1, ' ', is white space"),
        ("nginx:1 ", "character 8, ' ', is white space"),
        ("nginx\n", r"character 6, '\n', is white space"),
        ("nginx:1.27\n", r"character 11, '\n', is white space"),
        (f"nginx@{SHA256}\n", r"'\n', is white space"),
        ("registry.example.com\n/app", r"'\n', is white space"),
        ("ng\x00inx", r"character 3, '\x00'"),
        ("nginx:1\u0661", r"'\u0661', is a character that no reference has"),
        ("ng\u0456nx", r"'\u0456', is a character"),
        ("\ud800", r"'\ud800', is a character"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference(text)
    assert says in str(caught.value)
    assert_presentable(str(caught.value))


def assert_presentable(message: str, most: int = 400) -> None:
    assert len(message) <= most
    assert message.isascii()
    assert message.isprintable()


def test_password_is_not_repeated() -> None:
    for text in (
        "me:hunter2@registry.example.com/app",
        "https://me:hunter2@registry.example.com/app",
        "me:hunter2/hunter2@registry.example.com/app",
    ):
        for parse in (parse_reference, parse_uri, lambda text: parse_uri(f"docker://{text}")):
            with pytest.raises(InvalidReference) as caught:
                parse(text)
            assert "hunter2" not in str(caught.value)
            assert "registry.example.com" in str(caught.value)


# --- names for other purposes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "familiar_name"),
    [
        ("nginx:1", "docker.io/library/nginx", "nginx"),
        ("library/nginx", "docker.io/library/nginx", "nginx"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx", "nginx"),
        ("example/app", "docker.io/example/app", "example/app"),
        ("example/library", "docker.io/example/library", "example/library"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost/library/app", "localhost/library/app", "localhost/library/app"),
        ("UPPER/app", "UPPER/app", "UPPER/app"),
        ("127.0.0.1:8000/a/b", "127.0.0.1:8000/a/b", "127.0.0.1:8000/a/b"),
    ],
)
def test_names(text: str, name: str, familiar_name: str) -> None:
    reference = parse_reference(text)
    assert (reference.name, reference.familiar_name) == (name, familiar_name)
    assert parse_reference(familiar_name).name == name


@pytest.mark.parametrize(
    ("text", "normal", "effective_tag", "pull_selector"),
    [
        ("app", "docker.io/library/app:latest", "latest", "latest"),
        ("app:1", "docker.io/library/app:1", "1", "1"),
        (f"app@{SHA256}", f"docker.io/library/app@{SHA256}", None, SHA256),
        (f"app:1@{SHA256}", f"docker.io/library/app:1@{SHA256}", "1", SHA256),
    ],
)
def test_selectors(text: str, normal: str, effective_tag: str | None, pull_selector: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == normal
    assert reference.effective_tag == effective_tag
    assert reference.pull_selector == pull_selector


def test_a_reference_is_a_value() -> None:
    assert len({parse_reference("nginx"), parse_reference("docker.io/library/nginx")}) == 1
    with pytest.raises(FrozenInstanceError):
        parse_reference("nginx").tag = "1"  # type: ignore[misc]


# --- URIs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["docker:", "DOCKER:", "Docker:", "dOcKeR:"])
def test_scheme_in_any_case(scheme: str) -> None:
    assert parse_uri(f"{scheme}nginx:1.27") == parse_reference("nginx:1.27")


def test_the_image_named_docker() -> None:
    assert parse_uri("docker:docker:24-dind") == parse_reference("docker:24-dind")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "is empty; write docker: and the image"),
        (" \t", "is empty"),
        ("docker:", "is empty"),
        (" docker:nginx", "white space around it"),
        ("docker: nginx", "is white space; remove it"),
        ("docker:nginx ", "is white space; remove it"),
        ("docker:nginx:1 27", "is white space; remove it"),
        ("nginx:1.27", "does not start with docker:; write 'docker:nginx:1.27'"),
        ("docker", "does not start with docker:; write 'docker:docker'"),
        ("docker://nginx:1.27", "no slashes after it; write 'docker:nginx:1.27'"),
        ("DOCKER:///example/app", "no slashes after it; write 'docker:example/app'"),
        ("docker://", "no slashes after it; write docker: and the image"),
        (
            "https://registry.example.com/app:1",
            "does not start with docker:; write 'docker:registry.example.com/app:1'",
        ),
        ("http://registry.example.com/app", "write 'docker:registry.example.com/app'"),
        ("s3://Bucket/key Name", "does not start with docker:; write docker: and the image"),
        ("docker:https://registry.example.com/app", "no scheme; remove https://"),
        ("docker:/nginx", "empty part"),
        ("docker:Nginx", "upper case in 'Nginx'; write 'nginx'"),
        ("doc\u212aer:nginx", "does not start with docker:"),
        ("docker\n:nginx", "does not start with docker:"),
        ("?" * 100_000, "(100000 characters)"),
    ],
)
def test_uri_refused(uri: str, says: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_uri(uri)
    assert says in str(caught.value)
    assert_presentable(str(caught.value))


# --- properties ----------------------------------------------------------------------------------

DIGITS = "0123456789"
LOWER = "abcdefghijklmnopqrstuvwxyz"
ALNUM = DIGITS + LOWER + LOWER.upper()


def joined(
    part: st.SearchStrategy[str], separator: st.SearchStrategy[str], most: int
) -> st.SearchStrategy[str]:
    more = st.lists(st.tuples(separator, part), max_size=most - 1)
    return st.tuples(part, more).map(lambda x: x[0] + "".join(a + b for a, b in x[1]))


labels = joined(st.text(ALNUM, min_size=1, max_size=8), st.sampled_from(["-", "--"]), 3)
domains = st.lists(labels, min_size=2, max_size=4).map(".".join)
ipv6 = st.text(DIGITS + "abcdefABCDEF:", min_size=1, max_size=39).map("[:{}]".format)
ports = st.integers(1, 65535).map(lambda port: f":{port}")
registries = st.one_of(
    st.tuples(domains | ipv6, ports | st.just("")).map("".join),
    st.tuples(labels, ports).map("".join),
    labels.filter(lambda label: label != label.lower()),
    st.just("localhost"),
)
separators = st.sampled_from([".", "_", "__", "-", "--", "-----"])
components = joined(st.text(DIGITS + LOWER, min_size=1, max_size=12), separators, 4)
repositories = st.lists(components, min_size=1, max_size=3).map("/".join)
tags = st.tuples(st.sampled_from(ALNUM + "_"), st.text(ALNUM + "_.-", max_size=127)).map("".join)
digests = st.sampled_from([("sha256", 64), ("sha384", 96), ("sha512", 128)]).flatmap(
    lambda x: st.text("0123456789abcdef", min_size=x[1], max_size=x[1]).map(lambda h: f"{x[0]}:{h}")
)


def written(name: str, tag: str | None, digest: str | None) -> str:
    return name + (f":{tag}" if tag is not None else "") + (f"@{digest}" if digest else "")


@settings(deadline=None)
@given(registries, repositories, st.none() | tags, st.none() | digests)
def test_parts_of_a_valid_reference_come_back(
    registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    reference = parse_reference(written(f"{registry}/{repository}", tag, digest))
    assert reference == Reference(registry, repository, tag, digest)


@settings(deadline=None)
@given(st.none() | registries, repositories, st.none() | tags, st.none() | digests)
def test_normal_form_is_a_fixed_point(
    registry: str | None, repository: str, tag: str | None, digest: str | None
) -> None:
    name = f"{registry}/{repository}" if registry else repository
    if registry is None:  # a dot in what comes before a slash would make that a registry
        name = name.replace(".", "-")
    reference = parse_reference(written(name, tag, digest))
    again = parse_reference(str(reference))
    assert str(again) == str(reference)
    assert again.name == reference.name == parse_reference(reference.familiar_name).name
    assert (again.effective_tag, again.digest) == (reference.effective_tag, digest)
    assert again.pull_selector == reference.pull_selector
    assert parse_uri(f"docker:{reference}") == again


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60) | st.text("aB0.:/@-_[] \n%", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for uri in (text, f"docker:{text}"):
        assert_presentable(normal_form_or_message(uri), most=900)


def normal_form_or_message(uri: str) -> str:
    try:
        return str(parse_uri(uri))
    except InvalidReference as error:
        assert_presentable(str(error))
        return str(error)


ORACLE = re.compile(
    r"(?:(?P<registry>(?:{label}(?:\.{label})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?)/)?"
    r"(?P<repository>{part}(?:/{part})*)"
    r"(?::(?P<tag>[0-9A-Za-z_][0-9A-Za-z_.-]*))?".format(
        label=r"(?:[0-9A-Za-z]|[0-9A-Za-z][0-9A-Za-z-]*[0-9A-Za-z])",
        part=r"[0-9a-z]+(?:(?:\.|_|__|-+)[0-9a-z]+)*",
    )
)


@settings(max_examples=1000, deadline=None)
@given(st.text("aB1.:/-_[]", max_size=14))
def test_short_texts_agree_with_the_grammar_as_one_pattern(text: str) -> None:
    first, slash, _ = text.partition("/")
    has_registry = slash and (re.search("[.:A-Z]", first) or first == "localhost")
    match = ORACLE.fullmatch(text if has_registry else f"docker.io/{text}")
    valid = match is not None and (not has_registry or match["registry"] == first)
    if valid and has_registry and (port := re.search(":([0-9]+)$", first)):
        valid = 0 < int(port[1]) < 65536
    try:
        reference = parse_reference(text)
    except InvalidReference:
        assert not valid
    else:
        assert valid
        assert match is not None
        assert reference.tag == match["tag"]
        assert reference.repository in (match["repository"], f"library/{match['repository']}")


# --- no text is slow -----------------------------------------------------------------------------

LENGTH = 100_000
UNITS = [
    "a",
    "A",
    "0",
    "a-",
    "a_",
    "a__",
    "a.",
    "a/",
    "a.b/",
    "a:",
    "a@",
    ":",
    "@",
    ".",
    "-",
    "_",
    "/",
]
UNITS += [
    "[",
    "]",
    "[:",
    "::",
    " ",
    "\n",
    "\x00",
    "é",
    "\U0001f600",
    "%41",
    "a--",
    "__a",
    "docker:",
    "a://",
]
FRAMES = [
    "{}",
    "a{}",
    "{}a",
    "{}!",
    "a/{}",
    "a.b/{}!",
    "{}/a",
    "a:{}",
    "[{}]/a",
    "a:{}/a",
    "a@sha256:{}",
    "docker:{}",
]


@pytest.mark.parametrize("frame", FRAMES)
def test_long_texts_are_answered_at_once(frame: str) -> None:
    for unit in UNITS:
        text = frame.format(unit * (LENGTH // len(unit)))
        started = time.process_time()
        for parse in (parse_reference, parse_uri):
            with pytest.raises(InvalidReference) as caught:
                parse(text)
            assert_presentable(str(caught.value))
        # Milliseconds here; a pattern that backtracks would take hours, not a second.
        assert time.process_time() - started < 1.0, (frame, unit)
