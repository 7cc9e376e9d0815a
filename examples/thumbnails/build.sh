#!/bin/sh
# Puts the handler and the packages that it imports into build/, the folder to deploy.
set -eu
cd "$(dirname "$0")"
rm -rf build
"${PYTHON:-python3}" -m pip install --quiet --requirement requirements.txt --target build
cp handler.py build/
