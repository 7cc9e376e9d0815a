#!/bin/sh
# Builds count.wasm, which is checked in so that tests need no toolchain. Needs what ../hello-wasm-http-c needs.
set -eu
cd "$(dirname "$0")"
core=$(mktemp)
trap 'rm -f "$core"' EXIT
"${PYTHON:-python3}" -m ziglang cc -target wasm32-freestanding -Os -s -nostdlib -fno-builtin -Wl,--no-entry -o "$core" count.c
cargo run --quiet --locked --manifest-path ../hello-wasm-http-c/componentize/Cargo.toml -- count.wit "$core" count.wasm
