#!/usr/bin/env bash
# Runs the cases of the conformance suite through another builder, as root, to prove what they expect: buildah, or
# BuildKit as Debian's dockerd has it built in. Cases whose about.txt says that it differs are passed over and named.
#
#   tests/conformance/peers.sh buildah|dockerd [GROUP]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
peer=${1:?which of buildah and dockerd?}
shift
command -v "$peer" >/dev/null || { echo "error: install $peer first (packages buildah and docker.io)" >&2; exit 1; }
(( EUID == 0 )) || { echo "error: $peer runs the cases as root" >&2; exit 1; }
HYPR_CONFORMANCE_PEER=$peer exec cargo test -p hypr-tests --test conformance -- --nocapture --skip table --skip every_case "$@"
