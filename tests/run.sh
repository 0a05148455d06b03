#!/usr/bin/env bash
# Runs every test of the workspace on a Debian machine, after installing what the tests need.
#
#   tests/run.sh [ARGUMENT...]       the arguments go to `cargo test --workspace`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
examples/setup.sh --tests
# The base images of the examples; the other tests make their own.
examples/bases.sh
# libsquashfs is one more reader of our images.
exec cargo test --workspace --features hypr-tests/squashfs-ng "$@"
