#!/bin/sh
# Puts fetch.wasm into build/, the folder to deploy. Needs Node 20 or newer, and npm.
# What npm installs is kept in CACHE and used again.
set -eu
cd "$(dirname "$0")"
cache="${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/squall-examples}/componentize-js-0.23.0"
if [ ! -e "$cache" ]; then
    mkdir -p "$(dirname "$cache")"
    work="$(mktemp -d "$cache.XXXXXX")"
    cp package.json "$work"
    (cd "$work" && npm install --no-audit --no-fund --loglevel=error >&2)
    mv "$work" "$cache"
fi
mkdir -p build
"$cache/node_modules/.bin/componentize-js" fetch.js --wit fetch.wit --world-name fetch --out build/fetch.wasm
