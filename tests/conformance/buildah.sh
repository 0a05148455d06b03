#!/usr/bin/env bash
# Runs the cases of the conformance suite through buildah, as root, to prove what they expect. Cases whose about.txt
# says that buildah differs are passed over and named.
#
#   tests/conformance/buildah.sh [GROUP]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v buildah >/dev/null || { echo "error: install buildah first (apt-get install buildah)" >&2; exit 1; }
(( EUID == 0 )) || { echo "error: buildah runs the cases as root" >&2; exit 1; }
HYPR_CONFORMANCE_BUILDAH=1 exec cargo test -p hypr-tests --test conformance -- --nocapture --skip table --skip every_case "$@"
