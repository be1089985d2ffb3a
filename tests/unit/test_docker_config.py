"""docker's config.json: what is changed in it, and that all else stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dockermgr.docker_config import DockerConfigError, helped_hosts, installed, uninstalled

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
PUBLIC = "public.ecr.aws"
BY_DOCKER = '{\n\t"auths": {\n\t\t"registry.example.com": {}\n\t},\n\t"detachKeys": "ctrl-q"\n}'
OF_OTHERS = json.dumps({"credHelpers": {ECR: "ecr-login"}, "credsStore": "desktop"})

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
helpers = st.dictionaries(st.text(), st.just("other"), min_size=1, max_size=3)
OURS = {"credsStore", "credHelpers", "auths"}


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """The text of a config.json, in one of the forms in which programs and people write it."""
    keys = st.text().filter(lambda key: key not in OURS)
    content = draw(st.dictionaries(keys, values, max_size=4))
    if draw(st.booleans()):
        content["credHelpers"] = draw(helpers)
    ordered = dict(draw(st.permutations(list(content.items()))))
    text = json.dumps(
        ordered,
        indent=draw(st.sampled_from([None, 0, 1, 2, 4, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")])),
        ensure_ascii=draw(st.booleans()),
    )
    spaces = st.text(" \t\r\n", max_size=2)
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    whole = draw(spaces) + text.replace("\n", newline) + draw(spaces)
    assume(whole != "{}\n\n")  # by that one the file is known that `installed` began
    return whole


hosts = st.lists(st.sampled_from([ECR, PUBLIC, "ecr-public.aws.com"]), unique=True, max_size=3)


@given(configurations(), hosts)
def test_undone_it_is_what_it_was_to_the_byte(text: str, wanted: list[str]) -> None:
    assert uninstalled(installed(text, wanted), []) == text


@given(configurations(), hosts)
def test_nothing_else_changes(text: str, wanted: list[str]) -> None:
    before, after = json.loads(text), json.loads(installed(text, wanted))
    if wanted:
        helpers = after["credHelpers"]
        assert {host: helpers.pop(host) for host in wanted} == dict.fromkeys(wanted, "dockermgr")
        assert after.pop("credHelpers") == before.pop("credHelpers", {})
    else:
        assert after.pop("credsStore") == "dockermgr"
    assert after == before


@given(configurations(), hosts)
def test_a_second_time_changes_nothing(text: str, wanted: list[str]) -> None:
    once = installed(text, wanted)
    assert installed(once, wanted) == once
    assert uninstalled(text, wanted) == text


@given(configurations())
def test_a_host_is_undone_alone(text: str) -> None:
    one = installed(text, [ECR])
    assert uninstalled(installed(one, [PUBLIC]), [PUBLIC]) == one


@given(configurations(), hosts, hosts, values)
def test_what_others_add_in_between_stays(
    text: str, first: list[str], second: list[str], added: object
) -> None:
    # As docker does it, which writes the whole file anew with each `docker login`.
    config = json.loads(installed(installed(text, first), second))
    between = json.dumps({**config, "auths": {}, "added": added}, sort_keys=True, indent="\t")
    assert json.loads(uninstalled(between, [])) == {
        **json.loads(text),
        "auths": {},
        "added": added,
    }


@given(st.text())
def test_whatever_the_text_it_is_read_or_refused(text: str) -> None:
    try:
        assert json.loads(installed(text, [ECR]))["credHelpers"][ECR] == "dockermgr"
    except DockerConfigError:
        assert text.strip()


def test_it_reads_as_docker_writes_it() -> None:
    assert installed("", [ECR, PUBLIC]) == (
        '{\n\t"credHelpers": {\n\t\t"123456789012.dkr.ecr.us-east-1.amazonaws.com": "dockermgr",\n'
        '\t\t"public.ecr.aws": "dockermgr"\n\t}\n}\n\n'
    )
    assert installed(BY_DOCKER, [PUBLIC]) == (
        '{\n\t"auths": {\n\t\t"registry.example.com": {}\n\t},\n\t"detachKeys": "ctrl-q",\n'
        '\t"credHelpers": {\n\t\t"public.ecr.aws": "dockermgr"\n\t}\n}'
    )


@pytest.mark.parametrize("wanted", [[], [ECR]])
def test_a_file_that_was_not_there_is_none_again(wanted: list[str]) -> None:
    assert uninstalled(installed("", wanted), []) == ""
    assert uninstalled(installed("{}", wanted), []) == "{}"
    assert uninstalled(installed("{}\n", wanted), []) == "{}\n"


def test_without_hosts_for_all_that_no_other_helper_is_named_for() -> None:
    text = '{"credHelpers": {"registry.example.com": "pass"}}'
    assert json.loads(installed(text, [])) == {**json.loads(text), "credsStore": "dockermgr"}


def test_helped_hosts_are_those_with_our_name() -> None:
    text = installed('{"credHelpers": {"registry.example.com": "pass"}}', [ECR, PUBLIC])
    assert helped_hosts(text) == [ECR, PUBLIC]
    assert helped_hosts("") == []


@pytest.mark.parametrize(
    ("text", "wanted", "reason"),
    [
        ("{", [ECR], "damaged"),
        ("{} {}", [ECR], "damaged"),
        ("[]", [ECR], "no JSON object"),
        ("\ufeff{}", [ECR], "damaged"),
        ("[" * 100_000, [ECR], "damaged"),
        ('{"credsStore": "a", "credsStore": "b"}', [ECR], "twice"),
        ('{"credHelpers": []}', [ECR], "credHelpers is not an object"),
        (OF_OTHERS, [ECR], 'amazonaws.com is "ecr-login", which is not replaced'),
        (OF_OTHERS, [PUBLIC, ECR], "is not replaced"),
        (OF_OTHERS, [], 'credsStore is "desktop", which is not replaced'),
        ('{"auths": {"registry.example.com": {"auth": "eA=="}}}', [], "kept for registry.example"),
    ],
)
def test_what_is_refused(text: str, wanted: list[str], reason: str) -> None:
    with pytest.raises(DockerConfigError, match=reason):
        installed(text, wanted)


def test_helpers_of_others_are_left_alone() -> None:
    assert uninstalled(OF_OTHERS, []) == OF_OTHERS
    assert uninstalled(OF_OTHERS, [ECR]) == OF_OTHERS


def test_logins_without_a_kept_password_do_not_stand_in_the_way() -> None:
    assert json.loads(installed(BY_DOCKER, []))["credsStore"] == "dockermgr"
