#!/usr/bin/env bash
# What tests/lab/run.sh has run in the lab: examples.sh HYPR
#
# The images of the examples are the same, whichever way their steps ran.
set -euo pipefail
hypr=$1
export SOURCE_DATE_EPOCH=1700000000

"$hypr" info --root /run/info
# digest ISOLATION EXAMPLE BASE: of the image's file. The lab's own root is an overlay, which holds no other.
digest() {
    "$hypr" build --root "/run/$1" --isolation "$1" --progress plain --tag "$2" --quiet \
        --build-context "$3=oci-layout://$HYPR_BASES/$3" "examples/$2" >/dev/null
    "$hypr" image inspect --root "/run/$1" "$2" | sed -n 's/.*"path": *".*\/\(.*\)\.squashfs".*/\1/p' | head -n 1
}
while read -r example base; do
    vm=$(digest vm "$example" "$base")
    namespace=$(digest namespace "$example" "$base")
    if [[ -z $vm || $vm != "$namespace" ]]; then
        echo "error: $example: a microVM makes $vm, namespaces make $namespace" >&2
        exit 1
    fi
    echo "$example: $vm, in a microVM as in namespaces"
    # Its memory is the store's.
    rm -rf /run/vm /run/namespace
done <<'EXAMPLES'
multi-stage busybox
c-static debian-gcc
python-app debian-python
EXAMPLES
