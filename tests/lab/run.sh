#!/usr/bin/env bash
# Tries microVMs in the lab, where there is a KVM that runs kernels, with Debian's cloud kernel as the guest's: the
# contract of executors, and the examples, whose images have to be those that namespaces make.
#
#   tests/lab/run.sh [KERNEL...]     other guest kernels; HYPR_LAB_TESTS narrows the contract to a part
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export KVM_LAB_CACHE=${KVM_LAB_CACHE:-${HYPR_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hypr-ci}/lab}
tests/lab/kvm-lab --setup
kernels=("$@")
(( ${#kernels[@]} )) || kernels=("$KVM_LAB_CACHE"/kern/boot/vmlinuz-*)

cargo build --quiet --locked --release --package hypr-cli
executor=$(cargo test --locked --package hypr-build --test executor --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*executor-[^"]*\)".*/\1/p' | tail -n 1)
hypr=$(realpath "${CARGO_TARGET_DIR:-target}/release/hypr")
bases=$(realpath "${HYPR_BASES:-target/bases}")
for kernel in "${kernels[@]}"; do
    tests/lab/kvm-lab -c 1 -m 6144 -t "${HYPR_LAB_SECONDS:-1200}" -M "loop squashfs" -- \
        env HYPR_KERNEL="$(realpath "$kernel")" HYPR_BASES="$bases" tests/lab/inside.sh "$executor" "$hypr"
done
