"""What `dockermgr lint` prints, in each form, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dockermgr.cli import main
from dockermgr.lint.findings import Finding, Severity
from dockermgr.lint.report import for_github
from dockermgr.nodes import Place

HEAD = "RecipeFormatVersion: '2020-01-25'\n"
WARNING = f"{HEAD}Manifests:\n- Lifecycle:\n    install: docker run a:1\n"
ERROR = f"{HEAD}Manifests:\n- Platform: {{architecture: arm64}}\n"
RIGHT = f"{HEAD}Manifests:\n- Lifecycle:\n    run: echo\n"


def write(folder: Path, **texts: str) -> list[str]:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return [str(folder / f"{name}.yaml") for name in texts]


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (RIGHT, [], 0),
        (RIGHT, ["--strict"], 0),
        (WARNING, [], 0),
        (WARNING, ["--strict"], 2),
        (WARNING, ["--strict", "--ignore", "missing-rm,unlisted-image", "--nucleus", "java"], 0),
        (WARNING, ["--strict", "--ignore", "missing-rm", "--nucleus=java"], 2),
        (ERROR, [], 2),
        (ERROR, ["--ignore", "architecture-name"], 0),
    ],
)
def test_the_exit_code(tmp_path: Path, text: str, options: list[str], code: int) -> None:
    assert main(["lint", *options, *write(tmp_path, recipe=text)]) == code


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write(tmp_path, wrong=ERROR, right=RIGHT, broken="a: b: c")
    assert main(["lint", *files, str(tmp_path / "absent.json")]) == 2
    captured = capsys.readouterr()
    first, *others = captured.out.splitlines()
    assert first.startswith(
        f"{files[0]}:3:28: error: Greengrass does not call any device arm64, so"
    )
    assert first.endswith(" [architecture-name]")
    assert others == [
        "    write aarch64",
        f"{files[2]}:1:5: error: no YAML: mapping values are not allowed here [unreadable-recipe]",
        "    correct the file; nothing else was looked at",
        f"{tmp_path / 'absent.json'}:1:1: error: No such file or directory [unreadable-recipe]",
        "    correct the file; nothing else was looked at",
    ]
    assert captured.err == "3 errors, 0 warnings\n"


def test_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = write(tmp_path, recipe=ERROR)
    assert main(["lint", "--json", file]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "file": file,
        "line": 3,
        "column": 28,
        "severity": "error",
        "rule": "architecture-name",
        "message": "Greengrass does not call any device arm64, so no device takes this manifest",
        "mend": "write aarch64",
    }


def test_for_github(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = write(tmp_path, recipe=WARNING)
    options = ["--format", "github", "--nucleus", "java", "--ignore", "unlisted-image"]
    assert main(["lint", *options, file]) == 0
    assert capsys.readouterr().out == (
        f"::warning file={file},line=4,col=14,title=The container stays when it has ended [missing-rm]"
        "::docker run without --rm: the container that has ended stays, takes disk, and keeps its name"
        " from the next one; write docker run --rm, or `dockermgr run`, which adds it\n"
    )


def test_annotations_are_escaped() -> None:
    found = Finding("rule", Severity.ERROR, Place(1, 2), "100 %\n::set-env: a,b", "mend", "a: b, c")
    assert for_github("d,e:f.yaml", found) == (
        "::error file=d%2Ce%3Af.yaml,line=1,col=2,title=a%3A b%2C c [rule]"
        "::100 %25%0A::set-env: a,b; mend"
    )


def test_what_the_terminal_cannot_show(tmp_path: Path) -> None:
    text = f'{HEAD}Manifests:\n- Lifecycle: {{run: "echo {{artifact:\\u00e9\\ud83d}}"}}\n'
    done = subprocess.run(
        [sys.executable, "-m", "dockermgr", "lint", *write(tmp_path, recipe=text)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert r"there is no recipe variable {artifact:\xe9\ud83d}" in done.stdout


def test_a_comment_silences_the_line_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comment = "    # dockermgr-lint: ignore=missing-rm, unlisted-image\n    # It is needed.\n"
    text = WARNING.replace("    install", f"{comment}    install")
    assert main(["lint", "--strict", "--nucleus=java", *write(tmp_path, recipe=text)]) == 0
    elsewhere = f"{comment}{WARNING}"
    assert main(["lint", "--strict", "--nucleus=java", *write(tmp_path, recipe=elsewhere)]) == 2
    assert capsys.readouterr().out.count("[missing-rm]") == 1
