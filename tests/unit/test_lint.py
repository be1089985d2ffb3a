"""`dockermgr lint`'s rules: each fires where it should and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dockermgr.lint.check import RULES, lint
from dockermgr.lint.findings import Nucleus, Severity
from dockermgr.lint.subject import Options
from tests.unit.lint_cases import Case, cases, right, seen
from tools.build import ROOT, filled, identity

EXAMPLES = sorted((ROOT / "examples").glob("*/recipe.yaml"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_each_mistake_is_found_where_it_is(case: Case) -> None:
    assert seen(lint(case.text, case.name, case.options)) == case.expected


@pytest.mark.parametrize("path", right(), ids=lambda path: path.name)
def test_what_is_right_is_left_alone(path: Path) -> None:
    assert lint(path.read_text(encoding="utf-8"), path.name, Options()) == ()


@pytest.mark.parametrize("nucleus", Nucleus)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_have_no_mistakes(path: Path, nucleus: Nucleus) -> None:
    options = Options(nucleus, "us-east-1", "123456789012")
    assert lint(path.read_text(encoding="utf-8"), path.name, options) == ()


def test_our_own_recipe_has_no_mistakes() -> None:
    """As it is in the repository, with the GDK's placeholders, and as it is built."""
    text = (ROOT / "recipe.yaml").read_text(encoding="utf-8")
    for written in (text, filled(text, *identity(ROOT))):
        for nucleus in Nucleus:
            assert lint(written, "recipe.yaml", Options(nucleus)) == ()


def test_every_rule_is_in_the_corpus() -> None:
    assert {rule for case in cases() for rule, _, _ in case.expected} == set(RULES)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_finding_says_what_to_do(case: Case) -> None:
    for found in lint(case.text, case.name, case.options):
        assert re.fullmatch(r"[^\n]{15,}[^\s.]", found.message), found.message
        assert re.fullmatch(r"[^\nA-Z][^\n]{4,}[^\s.]", found.mend), found.mend


def test_no_secret_is_repeated() -> None:
    (case,) = (case for case in cases() if case.name == "secret-in-recipe.yaml")
    said = " ".join(f.message + f.mend for f in lint(case.text, case.name, case.options))
    for secret in ("horse", "0a1b2c", "AKIA", "user:pass", "staple", "0123456789"):
        assert secret in case.text
        assert secret not in said


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_rule_that_is_ignored_is_silent(case: Case) -> None:
    for rule in {rule for rule, _, _ in case.expected} - {"unreadable-recipe"}:
        left = lint(case.text, case.name, case.options, [rule])
        assert seen(left) == tuple(each for each in case.expected if each[0] != rule)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_comment_on_the_line_silences_a_rule(case: Case) -> None:
    """At the end of a line, where that is a comment to YAML, or to the shell in a literal script."""
    lines = case.text.split("\n")
    for rule, number, _ in case.expected:
        if rule in ("unreadable-recipe", "unknown-ignore") or case.name.endswith(".json"):
            continue
        if lines[number - 1].endswith(("&&", "awk '{print $1}' &&", "--rm", "redis:7.4")):
            continue  # within a command that goes on
        changed = [*lines]
        changed[number - 1] += f"  # dockermgr-lint: ignore={rule}"
        left = seen(lint("\n".join(changed), case.name, case.options))
        assert (rule, number) not in {each[:2] for each in left}


def test_the_nucleus_decides_on_lites_rules() -> None:
    java_only = (
        'RecipeFormatVersion: "2020-01-25"\nManifests:\n- Lifecycle:\n    run: echo ${HOME}\n'
    )
    assert lint(java_only, "recipe.yaml", Options()) == ()
    found = lint(java_only, "recipe.yaml", Options(Nucleus.LITE))
    assert [f.rule for f in found] == ["lite-platform", "lite-braces"]
    assert {f.severity for f in found} == {Severity.ERROR}
    for case in cases():
        found = lint(case.text, case.name, case.options)
        if case.name == "lite-open.yaml":  # it may be meant for Java alone
            assert {f.severity for f in found} == {Severity.WARNING}
        about_lite = {f.rule for f in lint(case.text, case.name, Options(Nucleus.JAVA))}
        assert not any(rule.startswith("lite-") for rule in about_lite)


@pytest.mark.parametrize(
    ("name", "severity"),
    [("lite-platform.yaml", Severity.WARNING), ("lite-platform-os.yaml", Severity.ERROR)],
)
def test_a_recipe_that_says_it_is_for_lite_must_be(name: str, severity: Severity) -> None:
    (case,) = (case for case in cases() if case.name == name)
    found = {f.severity for f in lint(case.text, case.name, case.options)}
    assert found == {severity}


ODD = r"""
'|"|`|$(|${|\|<<|<<EOF|&& && ;|(((|docker|docker run|docker run --|docker run -|docker run -v|dockermgr
dockermgr run|dockermgr run --pass|dockermgr --|exec|sudo|sudo -u|env|timeout|timeout -k|if|if docker|{|}|{:}
{::}|docker -H|docker compose|docker compose -f|docker login -p|docker pull|docker run ''|dockermgr run ''
dockermgr pull ''|docker run $(|x=1|> a|2>&1|docker run --env|docker-compose|docker run -e|exec exec|! !|;;
dockermgr run -- --|docker run "$A" $B|dockermgr compose|dockermgr compose --pass =|dockermgr run --pass= a
"""


@pytest.mark.parametrize("script", re.split(r"[|\n]", ODD.strip()))
def test_odd_scripts_are_no_trouble(script: str) -> None:
    for more in ("", "\n        docker run a"):
        text = (
            'RecipeFormatVersion: "2020-01-25"\nManifests:\n- Platform: {os: linux, runtime: "*"}\n'
        )
        text += f"  Lifecycle:\n    run:\n      Script: |\n        {script}{more}\n"
        found = lint(text, "recipe.yaml", Options())
        assert "unreadable-recipe" not in {each.rule for each in found}


ODD_RECIPES = """
{}
[]
a
null
Manifests: 1
Manifests: [1, a, null, {}]
Manifests: {a: b}
Manifests: [{Lifecycle: [1]}]
Manifests: [{Lifecycle: {run: [a]}}]
Manifests: [{Lifecycle: {run: {}}}]
Manifests: [{Lifecycle: {run: {Script: [a]}}}]
Manifests: [{Lifecycle: {Setenv: a}}]
Manifests: [{Platform: linux}]
Manifests: [{Platform: {os: [linux, windows]}}]
Manifests: [{Platform: {os: /(/, architecture: [a, {b: c}]}}]
Manifests: [{Artifacts: docker:a}]
Manifests: [{Artifacts: [a, {}, {Uri: [a]}]}]
Lifecycle: [run: a]
Lifecycle: {run: {linux: a, all: {Script: b}}}
ComponentDependencies: [a]
ComponentDependencies: {a: b, 1: {VersionRequirement: [a]}}
ComponentConfiguration: a
ComponentConfiguration: {DefaultConfiguration: {dockerImages: docker:a}}
ComponentConfiguration: {DefaultConfiguration: {dockerImages: [1, [a], {uri: [a]}, null]}}
{? [a, b] : c}
<<: a
<<: [a, {b: c}]
"""


@pytest.mark.parametrize("text", ODD_RECIPES.strip().splitlines())
def test_odd_recipes_are_no_trouble(text: str) -> None:
    (found,) = lint(text, "recipe.yaml", Options())
    assert found.rule == "unreadable-recipe"
    found_all = lint(f"RecipeFormatVersion: x\n{text}", "recipe.yaml", Options(Nucleus.LITE))
    is_map = text[0] in "MLC<"
    assert ("unreadable-recipe" in {each.rule for each in found_all}) is not is_map
