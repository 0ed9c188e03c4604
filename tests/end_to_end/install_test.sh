#!/usr/bin/env bash
# cmake --install, then find_package(lockstep) from a project of somebody else.
# Usage: install_test.sh BUILD_FOLDER CONSUMER_SOURCE CXX_COMPILER LINK_FLAGS
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$1" --prefix "$folder/installed" >/dev/null
cmake -S "$2" -B "$folder/build" -DCMAKE_PREFIX_PATH="$folder/installed" -DCMAKE_CXX_COMPILER="$3" \
    -DCMAKE_EXE_LINKER_FLAGS="$4" >/dev/null
cmake --build "$folder/build" >/dev/null
"$folder/build/consumer"
"$folder/installed/bin/lockstep" --version
# Where the program looks for it, from its own folder. Builds with sanitizers have none.
shim=lib/lockstep/liblockstep_syscall_shim.so
if [ -e "$1/$shim" ] && [ ! -e "$folder/installed/$shim" ]; then
    echo "$shim was built but not installed" >&2
    exit 1
fi
