#!/usr/bin/env bash
# Boots machines in the lab beside QEMU's `microvm` and puts the table into benches/README.md: run.sh [KERNEL...]
#
# Without kernels, it is the one of the lab. QEMU there is Debian's qemu-system-x86.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export KVM_LAB_CACHE=${KVM_LAB_CACHE:-${HYPR_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hypr-ci}/lab}
tests/lab/kvm-lab --setup
kernels=("$@")
(( ${#kernels[@]} )) || kernels=("$KVM_LAB_CACHE"/kern/boot/vmlinuz-*)
cargo build --quiet --locked --release --package hypr-benches --bin boots
boots=$(realpath "${CARGO_TARGET_DIR:-target}/release/boots")
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
folders=()
for kernel in "${kernels[@]}"; do
    folders+=("$work/${#folders[@]}")
    "$boots" prepare "$kernel" "${folders[-1]}"
done
{
    printf 'Medians of %s boots each, in turns, in one run of the lab. %s, load %s before.\n\n' "${BOOTS:-10}" \
        "$(date +%F)" "$(cut -d ' ' -f 1 /proc/loadavg)"
    tests/lab/kvm-lab -c 1 -m 4096 -t "${HYPR_LAB_SECONDS:-550}" -- \
        "$boots" measure --rounds "${BOOTS:-10}" "${folders[@]}"
} >"$work/table"
cat "$work/table"
"$boots" put benches/README.md <"$work/table"
