#!/bin/sh
# Builds hello.wasm, which is checked in so that tests need no toolchain. Needs `rustup target add wasm32-wasip2`.
set -eu
cd "$(dirname "$0")"
cargo build --release --locked --target wasm32-wasip2
cp target/wasm32-wasip2/release/hello.wasm hello.wasm
