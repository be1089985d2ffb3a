"""The example that installs Docker, with a stand-in for apt-get: the one thing here that is not to happen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.harness import PROJECT
from tests.sandbox.core import Core, InstalledComponent
from tests.sandbox.secrets import SECRETS

EXAMPLE = PROJECT / "examples" / "install-docker"
TIMEOUT_SECONDS = 60.0


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Commands of a Debian machine without Docker; `calls` has what apt-get was asked for.

    The first use of it meets another's lock; `install` brings the commands.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    apt_get = f"""\
        echo "$*" >> {tmp_path}/calls
        [ -e {tmp_path}/busy ] || {{ touch {tmp_path}/busy; echo 'E: Could not get lock'; exit 100; }}
        case "$*" in *' install '* | install*)
            for name in docker dockerd; do printf '#!/bin/sh\\necho version 1\\n' > {folder}/$name; done
            chmod +x {folder}/docker {folder}/dockerd
        esac
    """
    usermod = f'echo "usermod $*" >> {tmp_path}/calls'
    known = 'echo "Package: $2"; [ "$2" != docker-cli ]'
    groups = '[ "$1" = ggc_user ] || [ "$1" = -nG ] && echo ggc_user'
    for name, script in {
        "apt-get": apt_get,
        "apt-cache": known,
        "usermod": usermod,
        "id": groups,
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    for name in ("sh", "sleep", "grep", "touch", "chmod"):
        found = next(p for f in ("/bin", "/usr/bin") if (p := Path(f, name)).exists())
        (folder / name).symlink_to(found)
    return folder


def install_docker(core: Core, component: InstalledComponent, path: str) -> str:
    done = subprocess.run(
        ["sh", "-c", component.scripts["install"]],
        env={**core.environment(component.name), "PATH": path, "RETRY_SECONDS": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    SECRETS.look("the output of install-docker", done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_install_docker_where_it_is_missing_and_never_again(
    java_core: Core, tmp_path: Path, machine: Path
) -> None:
    component = java_core.install(EXAMPLE / "recipe.yaml", EXAMPLE)

    said = install_docker(java_core, component, str(machine))
    calls = (tmp_path / "calls").read_text().splitlines()
    assert "trying again in 0 s: apt-get update -q" in said
    assert calls[:2] == ["update -q", "update -q"]
    assert calls[2].startswith("install -q -y --no-install-recommends ")
    assert calls[2].endswith(" docker.io docker-compose")
    assert calls[3:] == ["usermod -aG docker ggc_user"]

    (tmp_path / "calls").unlink()
    assert "Docker Engine is there" in install_docker(java_core, component, str(machine))
    assert (tmp_path / "calls").read_text() == "usermod -aG docker ggc_user\n"


def test_install_docker_leaves_a_device_with_docker_alone(
    java_core: Core, tmp_path: Path, machine: Path
) -> None:
    component = java_core.install(EXAMPLE / "recipe.yaml", EXAMPLE)
    real = java_core.environment(component.name)["PATH"]
    (machine / "id").write_text("#!/bin/sh\necho ggc_user docker\n")

    assert "Docker Engine is there" in install_docker(java_core, component, f"{machine}:{real}")
    assert not (tmp_path / "calls").exists()
