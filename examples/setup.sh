#!/usr/bin/env bash
# Installs the Debian packages that the examples and the tests use, those that are missing alone.
#
#   examples/setup.sh            what the examples need
#   examples/setup.sh --tests    and what `cargo test --workspace` needs besides
set -euo pipefail

# What builds hypr and makes base images.
packages=(gcc libc6-dev busybox-static debootstrap squashfs-tools uidmap util-linux)
case ${1-} in
    "") ;;
    # Other people's tools, against which the tests hold hypr's results.
    --tests) packages+=(squashfs-tools-ng libsquashfs-dev libclang-dev pkg-config skopeo docker-registry git
        openssh-client bzip2 xz-utils zstd e2fsprogs qemu-system-x86 qemu-system-common kmod cpio) ;;
    *) echo "usage: $0 [--tests]" >&2; exit 2 ;;
esac

installed() { dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done
if (( ${#missing[@]} )); then
    root=()
    if (( EUID != 0 )); then
        command -v sudo >/dev/null || { echo "error: as root, run: apt-get install ${missing[*]}" >&2; exit 1; }
        root=(sudo)
    fi
    echo "installing ${missing[*]}" >&2
    "${root[@]}" apt-get update --quiet=2 >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}" </dev/null >&2
fi
