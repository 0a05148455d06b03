#!/usr/bin/env bash
# Tries microVMs in the lab, where there is a KVM that runs kernels: the contract of executors, and the examples, whose
# images have to be those that namespaces make.
#
#   tests/lab/run.sh [KERNEL...]     HYPR_LAB_TESTS narrows the contract to a part, HYPR_LAB_SKIP leaves parts out,
#                                    HYPR_LAB_EXAMPLES names the examples to build
#
# The guests' kernel is Debian's cloud kernel unless others are named, and besides the tiny one where it has been built:
#
#   hypr kernel build && cp ~/.local/share/hypr/kernels/*/vmlinux "$KVM_LAB_CACHE/tiny"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export KVM_LAB_CACHE=${KVM_LAB_CACHE:-${HYPR_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hypr-ci}/lab}
tests/lab/kvm-lab --setup
kernels=("$@")
if (( ! ${#kernels[@]} )); then
    kernels=("$KVM_LAB_CACHE"/kern/boot/vmlinuz-*)
    [[ ! -e $KVM_LAB_CACHE/tiny ]] || kernels+=("$KVM_LAB_CACHE/tiny")
fi

# Those of tests/run.sh.
executables=$(cargo test --quiet --locked --workspace --features hypr-tests/squashfs-ng --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
executor=$(grep -m 1 '/executor-[0-9a-f]*$' <<<"$executables")
hypr=$(grep -m 1 '/hypr$' <<<"$executables")
HYPR_BASES=$(realpath "${HYPR_BASES:-target/bases}")
export HYPR_BASES HYPR_TEST_NEEDS_VM=1 RUST_BACKTRACE=0

# lab DIRECTORY COMMAND...: in a lab of its own.
lab() {
    cd "$1" || return
    shift
    "$lab" -c 1 -m 4096 -t "${HYPR_LAB_SECONDS:-1500}" -M "loop squashfs" -- "$@"
}
contract() { (lab hypr-build "$executor" "$@" "${skipped[@]/#/--skip=vm::}" --test-threads=1); }
examples() {
    local found
    found=$(lab . tests/lab/examples.sh "$hypr" vm) || return
    printf '%s\n' "$found"
    [[ $found == "$expected" ]] || { printf 'error: namespaces make:\n%s\n' "$expected" >&2; return 1; }
}

lab=$PWD/tests/lab/kvm-lab
read -r -d '' -a skipped <<<"${HYPR_LAB_SKIP-}" || true
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A lab has one processor, so two of them run side by side, with about half of the work each.
first=(vm::a_ vm::changes vm::ending vm::isolation vm::mounts)
status=0
[[ -n ${HYPR_LAB_TESTS-} ]] || expected=$(tests/lab/examples.sh "$hypr" namespace)
for kernel in "${kernels[@]}"; do
    HYPR_KERNEL=$(realpath "$kernel")
    export HYPR_KERNEL
    echo "with $HYPR_KERNEL:"
    if [[ -n ${HYPR_LAB_TESTS-} ]]; then
        contract "vm::$HYPR_LAB_TESTS" || status=1
        continue
    fi
    {
        failed=0
        examples || failed=1
        contract vm:: "${first[@]/#/--skip=}" || failed=1
        exit "$failed"
    } >"$log" 2>&1 &
    second=$!
    contract "${first[@]}" || status=1
    wait "$second" || status=1
    cat "$log"
done
exit "$status"
