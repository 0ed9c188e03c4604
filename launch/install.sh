#!/usr/bin/env bash
# Install what Lockstep needs from the distribution. Safe to run again: asks for nothing that is there.
# Usage: launch/install.sh [FURTHER PACKAGE …]
set -euo pipefail

packages=(
    build-essential cmake ninja-build pkg-config ccache
    openmpi-bin libopenmpi-dev libboost-serialization-dev libboost-context-dev
    libhdf5-dev hdf5-tools libopenblas-pthread-dev
    libspdlog-dev libcli11-dev nlohmann-json3-dev libsimdjson-dev libxxhash-dev libssl-dev
    libpcre2-dev libsentencepiece-dev zlib1g-dev libzstd-dev libsnappy-dev
    libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
    python3 python3-numpy python3-h5py fortunes fortunes-min
    iproute2 procps
    "$@"
)

if ! command -v apt-get >/dev/null 2>&1; then
    cat >&2 <<TEXT
This distribution has no apt-get. Install these, under the names your distribution gives them, and go on:
  a C++20 compiler (gcc >= 12 or clang >= 14), CMake >= 3.25, Ninja, pkg-config
  Open MPI, Boost.Serialization and Boost.Context, serial HDF5 (and its tools), OpenBLAS (pthread variant)
  spdlog, CLI11, nlohmann-json, simdjson, xxHash, OpenSSL, PCRE2, SentencePiece, zlib, zstd, Snappy
  GoogleTest and GoogleMock, RapidCheck, Google Benchmark
  Python 3 with NumPy and h5py (tests, and the Python reader of plans), the fortune files (the quick start's texts)
  Node.js >= 18 with npm (tests of tokenizers), iproute2 and procps (tests across hosts)
TEXT
    exit 78
fi

# The tokenizers are tested against engines that run under node; one of another origin will do.
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then packages+=(nodejs npm); fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "All packages are installed."
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Need root to install: ${missing[*]}" >&2
        echo "Run as root: apt-get install ${missing[*]}" >&2
        exit 78
    fi
    as_root=(sudo)
fi
echo "Installing ${#missing[@]} packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "Installed."
