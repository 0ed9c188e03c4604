#!/usr/bin/env bash
# The parity tests, with the engines of the lock file. Usage: run.sh ENCODER FOLDER [case]
# FOLDER keeps the engines between runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
encoder=$1
folder=$2
mkdir -p "$folder"
if ! cmp -s "$here/package-lock.json" "$folder/installed.json"; then
    cp "$here/package.json" "$here/package-lock.json" "$folder/"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    cp "$here/package-lock.json" "$folder/installed.json"
fi
cp "$here"/*.mjs "$folder/"
exec node "$folder/parity.mjs" "$encoder" "${3:-}"
