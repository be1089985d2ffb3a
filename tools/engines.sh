#!/bin/sh
# Gets the engines that `make test-engines` runs besides the machine's own Docker Engine:
#  - Docker 26.1 of Debian 13 with its containerd, client and Compose, unpacked into build/engines/docker-26.
#    Nothing of it is installed: it uses the machine's runc, and runs beside any other engine.
#  - Podman, installed where it is missing.
# apt checks all signatures. Where everything is there already, this takes no time and no network.
# Usage: engines.sh [docker26] [podman]; both when none is named. Only `podman` may need root.
set -eu

suite=trixie
packages="docker.io docker-cli containerd docker-compose"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
top="$(cd "$(dirname "$0")/.." && pwd)/build/engines"
target="$top/docker-26"

fail() {
    echo "$1" >&2
    exit 1
}

mirror() {  # the machine's own mirror of Debian, if it has one
    found="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/*$' || true)"
    echo "${found:-http://deb.debian.org/debian/}"
}

get_docker() {
    command -v apt-get >/dev/null || fail "Docker 26.1 is taken from Debian $suite by apt-get, which is not here."
    [ -s "$keyring" ] || fail "The package debian-archive-keyring is needed and missing: install it with apt-get."
    # A folder of this run's own: one that is stopped half-way leaves nothing that looks complete.
    mkdir -p "$top"
    work="$(mktemp -d "$top/.docker-26.XXXXXX")"
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
        # shellcheck disable=SC2086  # a list of packages, to be split
        apt-get download -qq $packages
        for package in ./*.deb; do dpkg -x "$package" root; done
    )
    PATH="$work/root/usr/sbin:$work/root/usr/bin:$PATH" dockerd --version >/dev/null \
        || fail "Docker of Debian $suite does not run on this machine."
    rm -rf "$target"
    mv "$work/root" "$target"
}

get_podman() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "Podman is needed and missing. Install it, for instance: sudo apt-get install podman"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman catatonit  # which --init needs
}

[ $# -gt 0 ] || set -- docker26 podman
for engine; do
    case "$engine" in
        docker26) [ -x "$target/usr/sbin/dockerd" ] || get_docker ;;
        podman) { command -v podman && command -v catatonit; } >/dev/null || get_podman ;;
        *) fail "There is no engine called $engine here: docker26 and podman." ;;
    esac
done
