#!/bin/sh
# Gets the engines that `make test-engines` runs besides the machine's own Docker Engine:
#  - Docker 26.1 of Debian 13 with its containerd, client and Compose, unpacked into build/engines/docker-26.
#    Nothing of it is installed: it uses the machine's runc, and runs beside any other engine.
#  - Podman, installed where it is missing.
# Where everything is there already, this takes no time and no network.
# Usage: engines.sh [docker26] [podman]; both when none is named. Only `podman` may need root.
set -eu

# shellcheck source=tools/debian.sh
. "$(dirname "$0")/debian.sh"

target="$(cd "$(dirname "$0")/.." && pwd)/build/engines/docker-26"

get_docker() {
    unpack trixie "$target" 'PATH="$PWD/usr/sbin:$PWD/usr/bin:$PATH" dockerd --version' \
        docker.io docker-cli containerd docker-compose
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
