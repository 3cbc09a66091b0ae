# shellcheck shell=bash
# What tests/run, tests/compose and .ci/run share: each `need_*` finds a tool or installs it, and says so before it does.
# It refuses to guess: where a tool can be neither found nor installed, it ends the script with one line that says so.
# Sourced from the root of the repository, under `set -euo pipefail`.

TOOLS="$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools"
readonly TOOLS

say() {
    printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# As root: itself, or through sudo, which may ask for a password only where somebody is there to give it.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        fail "needs root for: $* (this is not root, and there is no sudo)"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@" || fail "needs root for: $*"
    fi
}

# install WHY PACKAGE...
install() {
    local why="$1"
    shift
    command -v apt-get >/dev/null || fail "$why is missing, and there is no apt-get to install it with: install it by hand"
    say "$why is missing: installing the packages $*"
    as_root apt-get update -q -o APT::Update::Error-Mode=any >/dev/null ||
        say "apt-get update failed, trying with the package lists that are there"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null ||
        fail "could not install $* for $why"
}

need_rust() {
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v cargo >/dev/null || fail "there is no cargo: install Rust first"
    command -v cc >/dev/null || install "a C linker (for Rust)" gcc libc6-dev
}

need_valgrind() {
    command -v valgrind >/dev/null || install valgrind valgrind
}

# A ZooKeeper to start servers of: ZOOKEEPER_HOME (an unpacked release) if it is set, else Debian's jars.
need_zookeeper() {
    command -v java >/dev/null || install "a Java runtime" default-jre-headless
    if [ -n "${ZOOKEEPER_HOME:-}" ]; then
        compgen -G "$ZOOKEEPER_HOME/lib/zookeeper-*.jar" >/dev/null ||
            fail "ZOOKEEPER_HOME=$ZOOKEEPER_HOME has no lib/zookeeper-*.jar: is it an unpacked ZooKeeper?"
    elif ! [ -e /usr/share/java/zookeeper.jar ] || ! [ -e /usr/share/java/slf4j-simple.jar ]; then
        install ZooKeeper zookeeper libslf4j-java
    fi
}

need_python() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || install "Python with venv" python3 python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || fail "needs Python 3.9 or newer as python3"
}

# python_tools NAME: the packages of tests/requirements/NAME.txt in an environment of their own, $TOOLS/NAME.
# They are made anew when the list or the Python changes.
python_tools() {
    local name="$1" list="tests/requirements/$1.txt" stamp
    need_python
    stamp="$(python3 --version) $(cksum <"$list")"
    if [ "$(cat "$TOOLS/$name/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "installing into $TOOLS/$name, from PyPI: $(grep -v '^#' "$list" | tr '\n' ' ')"
        rm -rf "${TOOLS:?}/$name"
        python3 -m venv "$TOOLS/$name"
        "$TOOLS/$name/bin/pip" install -q --disable-pip-version-check --no-deps -r "$list" ||
            fail "could not install the packages of $list"
        printf '%s\n' "$stamp" >"$TOOLS/$name/stamp"
    fi
}
