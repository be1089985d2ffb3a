#!/bin/sh
# Installs the Debian packages that the device in a box is made of, where they are missing.
# A machine that has an engine of another make (docker-ce, say) keeps it: only what is not there is installed.
set -eu

missing=""
want() {  # want <package> <command that shows it is there>
    if ! sh -c "$2" >/dev/null 2>&1; then missing="$missing $1"; fi
}

want docker.io 'command -v dockerd && command -v docker'
want docker-compose 'command -v docker-compose'
want docker-registry 'command -v docker-registry'
want busybox-static 'test -x /bin/busybox || test -x /usr/bin/busybox'
want iproute2 'command -v ip'
want iptables 'command -v iptables'
want util-linux 'command -v unshare'
want ca-certificates 'test -s /etc/ssl/certs/ca-certificates.crt'
want debian-archive-keyring 'test -s /usr/share/keyrings/debian-archive-keyring.gpg'
want python3-venv 'python3 -c "import ensurepip, venv"'

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "These Debian packages are needed and missing:$missing" >&2
    echo "Install them, for instance: sudo apt-get install$missing" >&2
    exit 1
fi
apt-get update -qq
# From Debian 13 on, the client is a package of its own.
if ! command -v docker >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then
    missing="$missing docker-cli"
fi
# shellcheck disable=SC2086  # a list of packages, to be split
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
