#!/usr/bin/env bash
# What tests/lab/run.sh has run in the lab and outside of it: examples.sh HYPR ISOLATION
#
# Builds the examples, and an image whose files have attributes, and prints the digest of each: it is the same, whichever
# way the steps ran.
set -euo pipefail
hypr=$1 isolation=$2
export SOURCE_DATE_EPOCH=1700000000

work=$(mktemp --directory)
if [[ -e /run/in-kvm-lab ]]; then
    # The lab's own root is an overlay, which holds no other, and its memory takes no attributes of users.
    truncate --size 16G /run/disk.img
    mkfs.ext4 -q /run/disk.img
    mount -o loop /run/disk.img "$work"
    "$hypr" info --root "$work/info" >&2
else
    trap 'rm -rf --one-file-system "$work"' EXIT
fi

# On a new file, on one of the base, and on a directory of it.
mkdir "$work/attributes"
cat >"$work/attributes/Dockerfile" <<'DOCKERFILE'
FROM debian-python
RUN python3 -c "import os; open('/new', 'w').close(); \
    [os.setxattr(path, 'user.' + name, bytes(size)) for path in ('/new', '/etc/passwd', '/opt') \
        for name, size in (('a', 0), ('b', 5), ('c', 3000))]"
DOCKERFILE

while read -r context base; do
    name=${context##*/}
    [[ " ${HYPR_LAB_EXAMPLES:-$name} " == *" $name "* ]] || continue
    "$hypr" build --root "$work/store" --isolation "$isolation" --progress plain --tag image --quiet \
        --build-context "$base=oci-layout://$HYPR_BASES/$base" "$context" >/dev/null
    digest=$("$hypr" image inspect --root "$work/store" image |
        sed -n 's/.*"path": *".*\/\(.*\)\.squashfs".*/\1/p' | head -n 1)
    echo "$name: ${digest:?}"
    rm -rf "$work/store"
done <<EXAMPLES
examples/multi-stage busybox
examples/c-static debian-gcc
examples/python-app debian-python
$work/attributes debian-python
EXAMPLES
