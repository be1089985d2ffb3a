# For scripts that take programs from a newer Debian than the machine's, beside what is installed. To be sourced.
# shellcheck shell=sh

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "$1" >&2
    exit 1
}

mirror() {  # the machine's own mirror of Debian, if it has one
    found="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/*$' || true)"
    echo "${found:-http://deb.debian.org/debian/}"
}

# unpack <suite> <folder> <check> <package>...
# The packages' files, in <folder> once <check>, a command that runs in them, has succeeded. Nothing is installed;
# apt checks all signatures.
unpack() {
    suite="$1" target="$2" check="$3"
    shift 3
    command -v apt-get >/dev/null || fail "$* of Debian $suite: apt-get is needed, and not here."
    [ -s "$keyring" ] || fail "The package debian-archive-keyring is needed and missing: install it with apt-get."
    # A folder of this run's own: one that is stopped half-way leaves nothing that looks complete.
    mkdir -p "$(dirname "$target")"
    work="$(mktemp -d "$target.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
    : >"$work/status"
    echo "deb [signed-by=$keyring] $(mirror) $suite main" >"$work/sources.list"
    # The machine's own sources, lists, pins and installed packages play no part, and are not touched.
    cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
END
    if [ "$(id -u)" -eq 0 ]; then
        # apt would fetch as its own user, who may not enter the folders above this one.
        echo 'APT::Sandbox::User "root";' >>"$work/apt.conf"
    fi
    (
        cd "$work"
        export APT_CONFIG="$work/apt.conf"
        # A list that cannot be fetched is only a warning to apt otherwise.
        apt-get update -qq -o APT::Update::Error-Mode=any
        apt-get download -qq "$@"
        for package in ./*.deb; do dpkg -x "$package" root; done
    )
    (cd "$work/root" && eval "$check" >/dev/null) || fail "$1 of Debian $suite does not run on this machine."
    rm -rf "$target"
    mv "$work/root" "$target"
    rm -rf "$work"
}
