"""Builds the component as the GDK wants it: `greengrass-build/recipes` and `…/artifacts`.

Run by `make build`, and through it by `gdk component build`. Needs Python, and a package index the
first time; later the wheels come from build/wheels. The same sources give the same bytes.
"""

import argparse
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import bundle, licences, sbom, wheels  # noqa: E402  # found only with the path above

# The machine as `uname -m` says it, and as Greengrass's recipes and our files name it.
MACHINES = {"x86_64": "amd64", "aarch64": "aarch64"}
# What Greengrass allows.
NAME = r"[a-zA-Z0-9-_.]{1,128}"
VERSION = r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?|NEXT_PATCH"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "greengrass-build")
    try:
        made = build(ROOT, parser.parse_args().out)
    except (ValueError, wheels.LockError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    for path in made:
        print(f"{path.stat().st_size:>12,}  {path}")
    return 0


def build(root: Path, out: Path) -> list[Path]:
    """Builds what lies in `root` into `out`, and removes what earlier builds left there."""
    name, author, version = identity(root)
    cache = root / "build/wheels"
    pins = wheels.read_lock(root / "requirements/runtime.lock")
    pure = wheels.pure_wheels(pins, cache)
    licence = (root / "LICENSE").read_bytes()
    library = [file for wheel in pure for file in wheels.files_of(wheel)]
    files = bundle.collect([*library, *package(root), ("dockermgr/LICENSE", licence)])
    launcher = {path.name: path.read_bytes() for path in (root / "artifacts").glob("*.py")}
    launcher["__main__.py"] = launcher.pop("launcher.py")
    files["dockermgr_start.py"] = launcher.pop("dockermgr_start.py")
    release = code_version(root)
    folder = out / f"artifacts/{name}/{version}"

    def bundled(machine: str, label: str) -> tuple[Path, list[Path]]:
        native = wheels.native_wheels(pins, cache, machine)
        common, own = split_native(native)
        path = folder / f"dockermgr-linux-{label}.pyz"
        bundle.bundle(path, launcher, {**files, **common}, own, release, machine)
        return path, [wheel for found in native.values() for wheel in found]

    with ThreadPoolExecutor() as pool:
        bundles = list(pool.map(bundled, MACHINES.keys(), MACHINES.values()))
    made = [path for path, _ in bundles]
    taken = [*pure, *(wheel for _, native in bundles for wheel in native)]
    packages = licences.packages(pins, taken, licence.decode())
    recipe = (root / "recipe.yaml").read_text(encoding="utf-8")
    texts = {
        folder / "dockermgr.cdx.json": sbom.sbom(name, author, version, made, packages),
        folder / "THIRD_PARTY_LICENSES.txt": licences.as_text(packages).encode(),
        out / "recipes/recipe.yaml": filled(recipe, name, author, version).encode(),
    }
    for path, content in texts.items():
        bundle.put(path, content)
    made += texts
    remove_all_but(made, out)
    return made


def identity(root: Path) -> tuple[str, str, str]:
    """Name, author and version of the component, as gdk-config.json gives them.

    The version may be NEXT_PATCH: the GDK then looks in the folder of that name, and puts the real
    one into the recipe when it publishes. Raises ValueError.
    """
    path = root / "gdk-config.json"
    try:
        ((name, component),) = json.loads(path.read_text(encoding="utf-8"))["component"].items()
        author, version = component["author"], component["version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = "one component with author and version"
        raise ValueError(f"{path} does not have {what}: {type(error).__name__}: {error}") from error
    for what, text, form in (("name", name, NAME), ("version", version, VERSION)):
        if not re.fullmatch(form, str(text)):
            raise ValueError(f"{path}: {what} {text!r} is not one: {form}")
    return name, str(author), version


def code_version(root: Path) -> str:
    """The version of the code itself."""
    text = (root / "src/dockermgr/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'(?m)^__version__ = "([^"]+)"$', text)
    if not found:
        raise ValueError("src/dockermgr/__init__.py has no __version__")
    return found[1]


def package(root: Path) -> list[tuple[str, bytes]]:
    """The files of dockermgr itself."""
    source = root / "src"
    found = sorted(path for path in (source / "dockermgr").rglob("*") if path.is_file())
    return [(path.relative_to(source).as_posix(), path.read_bytes()) for path in found]


def split_native(
    built: dict[str, list[Path]],
) -> tuple[dict[str, bytes], dict[str, dict[str, bytes]]]:
    """What the wheels of each ABI have in common, and what each has of its own."""
    contents = {
        abi: bundle.collect(file for wheel in found for file in wheels.files_of(wheel))
        for abi, found in built.items()
    }
    first, *others = contents.values()
    common = {p: c for p, c in first.items() if all(other.get(p) == c for other in others)}
    own = {abi: {p: c for p, c in o.items() if p not in common} for abi, o in contents.items()}
    return common, own


def filled(recipe: str, name: str, author: str, version: str) -> str:
    """The recipe with the GDK's placeholders filled in.

    Those in artifact URIs (`BUCKET_NAME` and so on) stay: `gdk component publish` fills them.
    """
    values = {"COMPONENT_NAME": name, "COMPONENT_AUTHOR": author, "COMPONENT_VERSION": version}
    for key, value in values.items():
        # Within double quotes YAML has JSON's escapes.
        quoted = json.dumps(value, ensure_ascii=False)[1:-1]
        recipe = recipe.replace(f"{{{key}}}", quoted)
    return recipe


def remove_all_but(wanted: list[Path], out: Path) -> None:
    """Removes what earlier builds left: the GDK publishes whatever it finds."""
    found = [path for part in ("artifacts", "recipes") for path in (out / part).rglob("*")]
    for path in sorted(found, reverse=True):  # what is in a folder before the folder
        if path.is_dir() and not any(path in keep.parents for keep in wanted):
            path.rmdir()
        elif path.is_file() and path not in wanted:
            path.unlink()


if __name__ == "__main__":
    sys.exit(main())
