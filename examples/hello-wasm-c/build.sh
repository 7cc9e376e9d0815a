#!/bin/sh
# Builds hello.wasm, which is checked in so that tests need no toolchain. Needs `pip install ziglang`.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m ziglang cc -target wasm32-wasi -Os -s -o hello.wasm hello.c
