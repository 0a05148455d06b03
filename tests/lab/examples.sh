#!/usr/bin/env bash
# What tests/lab/run.sh has run in the lab: examples.sh HYPR
#
# The images of the examples are the same, whichever way their steps ran, and so is one whose files have attributes.
set -euo pipefail
hypr=$1
export SOURCE_DATE_EPOCH=1700000000

# The lab's own root is an overlay, which holds no other, and its memory takes no attributes of users.
mkdir /run/disk
truncate --size 16G /run/disk.img
mkfs.ext4 -q /run/disk.img
mount -o loop /run/disk.img /run/disk
"$hypr" info --root /run/disk/info

# digest ISOLATION CONTEXT BASE: of the image's file
digest() {
    "$hypr" build --root "/run/disk/$1" --isolation "$1" --progress plain --tag image --quiet \
        --build-context "$3=oci-layout://$HYPR_BASES/$3" "$2" >/dev/null
    "$hypr" image inspect --root "/run/disk/$1" image | sed -n 's/.*"path": *".*\/\(.*\)\.squashfs".*/\1/p' | head -n 1
}

# On a new file, on one of the base, and on a directory of it.
mkdir /run/attributes
cat >/run/attributes/Dockerfile <<'DOCKERFILE'
FROM debian-python
RUN python3 -c "import os; open('/new', 'w').close(); \
    [os.setxattr(path, 'user.' + name, bytes(size)) for path in ('/new', '/etc/passwd', '/opt') \
        for name, size in (('a', 0), ('b', 5), ('c', 3000))]"
DOCKERFILE

while read -r context base; do
    vm=$(digest vm "$context" "$base")
    namespace=$(digest namespace "$context" "$base")
    if [[ -z $vm || $vm != "$namespace" ]]; then
        echo "error: $context: a microVM makes $vm, namespaces make $namespace" >&2
        exit 1
    fi
    echo "$context: $vm, in a microVM as in namespaces"
    rm -rf /run/disk/vm /run/disk/namespace
done <<'EXAMPLES'
examples/multi-stage busybox
examples/c-static debian-gcc
examples/python-app debian-python
/run/attributes debian-python
EXAMPLES
