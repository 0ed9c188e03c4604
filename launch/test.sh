#!/usr/bin/env bash
# Build and run every test. Usage: launch/test.sh [preset] [ctest arguments …]   (preset: release)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"

preset=release
case "${1:-}" in
    dev | release | asan | tsan | coverage) preset=$1; shift ;;
esac
"$here/launch/install.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
ctest --preset "$preset" -j "$(nproc)" "$@"
