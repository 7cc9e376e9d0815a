#!/bin/sh
# Builds hello.wasm, which is checked in so that tests need no toolchain. Needs `pip install ziglang`, and Rust for
# the last step (`wasm-tools component embed` and `wasm-tools component new` do the same).
set -eu
cd "$(dirname "$0")"
core=$(mktemp)
trap 'rm -f "$core"' EXIT
"${PYTHON:-python3}" -m ziglang cc -target wasm32-freestanding -Os -s -nostdlib -Wl,--no-entry -o "$core" hello.c
cargo run --quiet --locked --manifest-path componentize/Cargo.toml -- hello.wit "$core" hello.wasm
