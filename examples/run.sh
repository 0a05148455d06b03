#!/usr/bin/env bash
# Builds one of the examples from nothing on a Debian machine and runs what came out.
#
#   examples/run.sh [c-static|python-app|multi-stage]
#
# What is missing is installed (examples/setup.sh), hypr is compiled unless $HYPR_BIN names the program, and the base
# images are made (examples/bases.sh); the second time there is nothing left to do but the build, and all of that is cached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

example=${1:-c-static}
case $example in
    c-static) bases=(debian-gcc) program=(/wordfreq /usr/share/wordfreq/sample.txt) ;;
    python-app) bases=(debian-python)
        program=(/usr/bin/env PYTHONPATH=/opt/inventory python3 -m inventory /data/stock.csv) ;;
    multi-stage) bases=(busybox) program=(/bin/sh -c 'cat /srv/site/index.html') ;;
    *) echo "usage: $0 [c-static|python-app|multi-stage]" >&2; exit 2 ;;
esac

command -v cargo >/dev/null || {
    echo "error: cargo is missing: install Rust as https://www.rust-lang.org/tools/install says" >&2
    exit 1
}

examples/setup.sh
examples/bases.sh "${bases[@]}"
hypr=${HYPR_BIN:-}
if [[ -z $hypr ]]; then
    cargo build --quiet --release --package hypr-cli
    hypr=${CARGO_TARGET_DIR:-target}/release/hypr
fi

contexts=()
for base in "${bases[@]}"; do
    contexts+=(--build-context "$base=oci-layout://${HYPR_BASES:-target/bases}/$base")
done
"$hypr" build --tag "$example" "${contexts[@]}" "examples/$example"

echo
"$hypr" images
image=$("$hypr" image inspect "$example" | sed -n 's/.*"path": *"\(.*\.squashfs\)".*/\1/p' | head -n 1)
rootfs=$(mktemp --directory)
trap 'rm -rf --one-file-system "$rootfs"' EXIT
echo
echo "$ ${program[*]}"
# Unpacked and run by an ordinary user as by root, without a mount.
unsquashfs -quiet -no-progress -no-xattrs -force -dest "$rootfs" "$image" >/dev/null
if (( EUID == 0 )); then
    chroot "$rootfs" "${program[@]}"
else
    unshare --map-root-user chroot "$rootfs" "${program[@]}"
fi
