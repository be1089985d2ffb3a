"""What runs first in `dockermgr-linux-*.pyz`: finds the unpacked runtime, or has it unpacked.

A shared library cannot be loaded out of an archive, so the first start unpacks everything into
`<home>/runtime/<version>-<content>-<python>/`; later starts only look whether it is there. A start
of the archive compiles this file anew (archives have no bytecode cache), so it is short, imports
nothing but os and sys, and leaves the rest to `dockermgr_unpack` (in the archive, needed once) and
`dockermgr_start` (in the runtime, with cached bytecode).

The syntax is that of any Python 3: an old one shall say what it lacks, in place of a SyntaxError.
"""

import os
import sys

# Filled in by tools/build.py.
RELEASE = "@RELEASE@"
MACHINE = "@MACHINE@"

# As for a wrong configuration: waiting does not mend it. 5 is kept for a missing engine.
WRONG_ENVIRONMENT = 2


def homes() -> "list[str]":
    """Folders that may hold the runtime: the component's own, then a cache of this user."""
    found = []
    if os.environ.get("DOCKERMGR_HOME"):
        found.append(os.path.abspath(os.environ["DOCKERMGR_HOME"]))
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):  # the XDG rules: a relative path is to be ignored
        cache = os.path.join(user_home(), ".cache")
    if os.path.isabs(cache):
        found.append(os.path.join(cache, "dockermgr"))
    return found


def user_home() -> "str":
    """The user's home folder, or an empty text; an empty HOME counts as none."""
    if os.environ.get("HOME"):
        return os.environ["HOME"]
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without a name, as in many containers
        return ""


def main() -> "int":
    """Runs dockermgr in this process and returns its exit code."""
    if sys.version_info < (3, 10):
        have = "%d.%d.%d (%s)" % (tuple(sys.version_info[:3]) + (sys.executable,))
        sys.stderr.write("dockermgr needs Python 3.10 or newer, this is %s\n" % have)
        return WRONG_ENVIRONMENT
    archive = os.path.dirname(os.path.abspath(__file__))
    name = "%s-%s" % (RELEASE, sys.implementation.cache_tag)
    serving = sys.argv[1:2] == ["serve"]
    # The service first looks after its home, and a damaged runtime is mended, before anything runs.
    if not serving and "DOCKERMGR_REPAIR" not in os.environ:
        for home in homes():
            runtime = os.path.join(home, "runtime", name)
            if not os.path.exists(os.path.join(runtime, "dockermgr_start.py")):
                continue
            sys.path.insert(0, runtime)
            try:
                from dockermgr_start import start
            except Exception as error:  # half-written bytecode fails in many ways
                os.environ["DOCKERMGR_REPAIR"] = "%s: %s" % (type(error).__name__, error)
                sys.path.remove(runtime)
                break
            return start(runtime, archive)
    try:
        from dockermgr_settle import settle
        from dockermgr_unpack import UnusableError, prepare
    except ImportError as error:  # systems for small devices split Python into many packages
        sys.stderr.write("dockermgr: %s lacks a part of Python: %s\n" % (sys.executable, error))
        return WRONG_ENVIRONMENT
    try:
        home, runtime = prepare(archive, homes(), name, MACHINE)
    except UnusableError as error:
        sys.stderr.write("dockermgr: %s\n" % error)
        return WRONG_ENVIRONMENT
    if serving:
        settle(home, runtime, archive)
    # In a fresh interpreter: unpacking leaves this one with memory that a service would never give
    # back, and it happens once.
    os.environ["DOCKERMGR_ARTIFACT"] = archive
    start_file = os.path.join(runtime, "dockermgr_start.py")
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    if serving:
        flags.insert(0, "-OO")  # no docstrings: 2 MB less for as long as the service lives
    command = [sys.executable or "python3"] + flags + [start_file] + sys.argv[1:]
    return os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
