#!/usr/bin/env bash
# A container engine and a base image for the tests marked `docker`, on a plain Debian machine.
#
#   engine.sh start FOLDER   start an engine where none answers, make the base where it is missing
#   engine.sh stop FOLDER    stop the engine that `start` started, and no other
#
# Needs root and Debian's package archive. FOLDER keeps the process id and the log.
set -euo pipefail
base=te-matrix-test/base:bookworm
here=$(cd "$(dirname "$0")" && pwd)

answers() { docker version >/dev/null 2>&1; }

install_packages() {
    local missing=()
    for command in dockerd debootstrap docker-registry; do
        command -v "$command" >/dev/null || missing+=("$command")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || { echo "${missing[*]} missing, and not root" >&2; return 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        docker.io debootstrap docker-registry iptables >/dev/null
}

start_engine() {
    # The fake hook makes the engine take requests for GPUs; it grants only fake ones.
    PATH="$here/fakes:$PATH" setsid dockerd >"$1/dockerd.log" 2>&1 </dev/null &
    echo $! >"$1/dockerd.pid"
    for _ in $(seq 60); do
        answers && return
        sleep 0.5
    done
    echo "dockerd does not answer: $(tail -n 1 "$1/dockerd.log")" >&2
    return 1
}

make_base() {
    docker image inspect "$base" >/dev/null 2>&1 && return
    local root
    root=$(mktemp -d)
    debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
        bookworm "$root" >"$1/debootstrap.log"
    tar -C "$root" -c . | docker import - "$base" >/dev/null
    rm -rf "$root"
}

case "$1" in
    start)
        mkdir -p "$2"
        install_packages
        answers || start_engine "$2"
        make_base "$2"
        ;;
    stop)
        [ -f "$2/dockerd.pid" ] || exit 0
        pid=$(cat "$2/dockerd.pid")
        kill "$pid" 2>/dev/null || exit 0
        for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
        rm "$2/dockerd.pid"
        ;;
    *)
        echo "usage: engine.sh start|stop FOLDER" >&2
        exit 2
        ;;
esac
