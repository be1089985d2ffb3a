#!/bin/sh
# Gets Python 3.14 for the tests, of Debian 14 with its C library, unpacked into build/pythons/3.14; nothing is installed.
# Where there is one (on PATH, under pyenv, or here from before), this takes no time and no network.
set -eu
# shellcheck source=tools/debian.sh
. "$(dirname "$0")/debian.sh"

top="$(cd "$(dirname "$0")/.." && pwd)/build/pythons"

# It needs a newer C library than the machine has, which only its own loader takes. This stands in for it: Python
# takes the name it is started by for its own, and finds its library beside it.
wrap() {
    cat >usr/bin/python3 <<'END'
#!/bin/sh
top="${0%/*}/.."
for loader in "$top"/lib64/ld-linux-*.so.* "$top"/lib/ld-linux-*.so.*; do [ -e "$loader" ] && break; done
exec "$loader" --library-path "$(echo "$top"/lib/*-linux-gnu)" --argv0 "$0" "$top/bin/python3.14" "$@"
END
    chmod 755 usr/bin/python3
    usr/bin/python3 -c 'import bz2, compression.zstd, ctypes, lzma, sqlite3, ssl, uuid, zlib'
}

if command -v python3.14 || ls "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.14.*/bin/python3; then
    exit 0
fi >/dev/null 2>&1
[ -x "$top/3.14/usr/bin/python3" ] || unpack forky "$top/3.14" wrap \
    python3.14 python3.14-minimal libpython3.14-minimal libpython3.14-stdlib \
    libc6 libgcc-s1 zlib1g libexpat1 libbz2-1.0 liblzma5 libffi8 libssl3t64 libsqlite3-0 libuuid1 libzstd1
