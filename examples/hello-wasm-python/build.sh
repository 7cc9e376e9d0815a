#!/bin/sh
# Puts hello.wasm into build/, the folder to deploy. Needs Python 3.10 or newer; what pip installs is kept in CACHE.
set -eu
cd "$(dirname "$0")"
cache="${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/squall-examples}/componentize-py-0.25.1"
if [ ! -e "$cache" ]; then
    mkdir -p "$(dirname "$cache")"
    work="$(mktemp -d "$cache.XXXXXX")"
    "${PYTHON:-python3}" -m pip install --quiet --requirement requirements.txt --target "$work"
    mv "$work" "$cache"
fi
mkdir -p build
PYTHONPATH="$cache" PYTHONDONTWRITEBYTECODE=1 \
    "$cache/bin/componentize-py" --wit-path hello.wit --world hello --quiet componentize hello --output build/hello.wasm
