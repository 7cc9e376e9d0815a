#!/bin/sh
# Puts the function and AWS's client into build/, the folder to deploy.
# The client compiles libcurl and an addon, which takes minutes: what came of it is kept in CACHE and used again.
# Needs cmake, autoconf, automake, libtool, make and g++.
set -eu
cd "$(dirname "$0")"
cache="${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/squall-examples}/aws-lambda-ric-3.3.0-node$(node -p process.versions.modules)"
if [ ! -e "$cache/dist/rapid-client.node" ]; then
    work="$(mktemp -d)"
    cp package.json "$work"
    # Newer npm runs install scripts only of packages that were approved; --ignore-scripts and a rebuild work on all.
    (cd "$work" && npm install --ignore-scripts --no-audit --no-fund \
        && { npm install-scripts approve aws-lambda-ric 2>/dev/null || true; } \
        && npm rebuild --foreground-scripts aws-lambda-ric >build.log 2>&1) || { tail "$work/build.log" >&2; exit 1; }
    test -e "$work/node_modules/aws-lambda-ric/dist/rapid-client.node" || { tail "$work/build.log" >&2; exit 1; }
    mkdir -p "$cache"
    cp -R "$work/node_modules/aws-lambda-ric/bin" "$work/node_modules/aws-lambda-ric/dist" \
        "$work/node_modules/aws-lambda-ric/package.json" "$cache"
    rm -rf "$work"
fi
rm -rf build
mkdir -p build/node_modules/aws-lambda-ric
cp -R "$cache/." build/node_modules/aws-lambda-ric
cp bootstrap index.mjs package.json build/
