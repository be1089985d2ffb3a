"""README.md and docs/: links lead somewhere, commands and data in them are such, each code is explained."""

from __future__ import annotations

import ast
import errno
import functools
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dockermgr import cli
from dockermgr.classify import from_engine_text
from dockermgr.errors import ErrorCode, ExitCode
from tests.documents import DOCS, PROJECT, Block, blocks, documents, without_blocks

PAGES = [*documents(), PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md"]
TROUBLES = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^### ([A-Z0-9_]+)\n(.*?)(?=^#)", TROUBLES, re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:^|[\s/\"'(])dockermgr[\"']? +([a-z].*)$")
_END_OF_COMMAND = re.compile(r" #|[|;<>]|&&|\)$|['\"]? \|")


def name_of(value: object) -> str:
    return str(value.relative_to(PROJECT)) if isinstance(value, Path) else str(value)


def anchors(page: Path) -> set[str]:
    """Those of its headings, as GitHub makes them."""
    text = without_blocks(page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in _LINK.findall(without_blocks(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


DATA = [b for page in PAGES for b in blocks(page, "json", "yaml")]


@pytest.mark.parametrize("found", DATA, ids=name_of)
def test_data_can_be_read(found: Block) -> None:
    if found.language == "json":
        for document in re.split(r"\n(?={)", found.text):
            json.loads(document)
    else:
        assert isinstance(yaml.safe_load(found.text), (dict, list))


def test_the_deployments_merge_is_json_in_a_string() -> None:
    (found,) = (b for b in blocks(DOCS / "installation.md", "json") if "targetArn" in b.text)
    (changed,) = (
        component["configurationUpdate"]
        for component in json.loads(found.text)["components"].values()
        if "configurationUpdate" in component
    )
    assert json.loads(changed["merge"])["components"] == ["com.example.HelloContainer"]


def commands(found: Block) -> list[str]:
    """What follows `dockermgr` in a block."""
    text = re.sub(r"\\\n *", "", found.text)
    # A folded script of a recipe is one line.
    text = re.sub(r"(?<=run)\n +(?=--)", " ", text)
    lines = [match[1] for line in text.splitlines() if (match := _COMMAND.search(line))]
    return [_END_OF_COMMAND.split(line)[0] for line in lines if "[" not in line]


COMMANDS = [
    pytest.param(page, command, id=f"{name_of(page)}: {command}")
    for page in PAGES
    for found in blocks(page, "sh", "yaml", "text", "")
    for command in commands(found)
    if command.split()[0] in cli.COMMANDS
]


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_one_that_there_is(page: Path, command: str) -> None:
    words = shlex.split(command.replace("$SUM", "0" * 64))
    parser = cli._parser(words[0])
    known, rest = parser.parse_known_args(words)
    assert callable(known.run)
    # What follows the image is docker's, and Compose's.
    assert not rest or words[0] in {"run", "compose"}


def test_each_code_has_an_entry_and_each_entry_a_code() -> None:
    assert [code for code, _ in ENTRIES] == sorted(code.value for code in ErrorCode)


@functools.cache
def words_of_ours() -> set[str]:
    """Texts, and parts of texts between what is filled in, that the program or the system writes."""
    trees = [ast.parse(path.read_text()) for path in (PROJECT / "src").rglob("*.py")]
    nodes = itertools.chain.from_iterable(map(ast.walk, trees))
    texts = (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
    ours = {text.strip() for text in texts if len(text.strip()) >= 10}
    return ours | {os.strerror(number) for number in errno.errorcode}


@pytest.mark.parametrize(("code", "entry"), ENTRIES, ids=[code for code, _ in ENTRIES])
def test_an_entry_has_messages_that_are_of_its_code(code: str, entry: str) -> None:
    messages = re.findall(r"```text\n(.*?)```", entry, re.DOTALL)
    ours = words_of_ours()
    for message in "".join(messages).splitlines():
        engines = from_engine_text(message).code.value == code
        assert engines or any(words in message for words in ours), message
    assert messages
    assert re.search(r"\b([Tt]ried|FAILED|Read again|ends with)\b", entry)


def test_each_exit_code_is_explained() -> None:
    table = TROUBLES.partition("## Exit codes")[2].partition("## Symptoms")[0]
    explained = {
        int(n)
        for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
        for n in row.split(",")
    }
    assert {*map(int, ExitCode), 125, 130, 143} <= explained


_WITHOUT_POSIX = """\
import sys
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"), None))
from dockermgr.cli import main
sys.exit(main(["parse", "docker:nginx:1"]))
"""


def test_parse_does_without_what_windows_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_POSIX],
        env={"PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repository"] == "library/nginx"
