#!/bin/sh
# Installs Docker Engine and Compose from the packages of Debian or Ubuntu, and lets a user use them:
#   install-docker.sh [USER]
# Whatever is there stays as it is, so it may run at each deployment. Needs root.
set -eu

attempts=60 # with the pause below at least ten minutes, for locks and for networks
pause=${RETRY_SECONDS:-10}

say() { echo "install-docker: $*"; }

has() { command -v "$1" >/dev/null 2>&1; }

# The lock on the lists of packages is not waited for by apt-get itself, and neither is the network.
persistently() {
    left=$attempts
    until "$@"; do
        left=$((left - 1))
        if [ "$left" -le 0 ]; then
            say "gave up: $*" >&2
            return 1
        fi
        say "trying again in $pause s: $*"
        sleep "$pause"
    done
}

install_docker() {
    if ! has apt-get; then
        say "there is no apt-get: this is not a Debian or an Ubuntu; install Docker Engine by hand" >&2
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    persistently apt-get update -q
    packages=docker.io
    # Packages of their own, from Debian 13 on and where the release has them.
    for package in docker-cli docker-compose; do
        if apt-cache show "$package" >/dev/null 2>&1; then packages="$packages $package"; fi
    done
    # shellcheck disable=SC2086  # a list of packages, to be split
    persistently apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=60 $packages
}

if has docker && has dockerd; then
    say "Docker Engine is there"
else
    install_docker
    has docker && has dockerd || { say "the packages brought no docker" >&2; exit 1; }
    say "installed $(docker --version)"
fi

user=${1:-}
if [ -n "$user" ] && id "$user" >/dev/null 2>&1 && ! id -nG "$user" | grep -qw docker; then
    usermod -aG docker "$user"
    say "$user may use it from its next start on"
fi
