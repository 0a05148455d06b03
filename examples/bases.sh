#!/usr/bin/env bash
# Makes the examples' base images out of Debian's packages, as OCI layouts.
#
#   examples/bases.sh [NAME...]      busybox, debian-gcc, debian-python; all of them by default
#
# An image that is there already is left alone. They go to $HYPR_BASES, by default target/bases beside this folder.
# The packages come from where apt is set up to get them, so this needs root (or sudo) for debootstrap, and a network.
# The same packages give the same bytes: times are clamped to SOURCE_DATE_EPOCH, by default the date of the release.
set -euo pipefail
export LC_ALL=C
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bases=${HYPR_BASES:-$here/../target/bases}
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Packages of each image on top of debootstrap's smallest variant. Changing a list makes the image anew.
declare -A packages=(
    [debian-gcc]=gcc,libc6-dev
    [debian-python]=python3,python3-pip
)
recipe=1

die() { echo "error: $*" >&2; exit 1; }

root=()
if (( EUID != 0 )); then
    root=(sudo)
fi

# `MIRROR SUITE` of the main archive that apt on this machine is set up with.
mirror() {
    local codename line
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
    line=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -v codename="$codename" '$2 == codename && $3 == "main" && $1 ~ /^https?:/ { print $1, $2; exit }')
    if [[ -z $line ]]; then
        # Nothing fetched yet: the sources as written, one line or several an entry.
        line=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
            grep -v '^#' | grep -Eo 'https?://[^] ]+' | grep -v security | head -n 1 || true)
        [[ -n $line ]] && line="$line $codename"
    fi
    [[ -n $line ]] || die "no mirror in /etc/apt: add one to /etc/apt/sources.list and run apt-get update"
    echo "$line"
}

# Seconds of the archive's last change, from the Release file that debootstrap kept.
release_date() {
    local date
    date=$(sed -n 's/^Date: //p' "$1"/var/lib/apt/lists/*_Release | head -n 1)
    date --date="$date" +%s
}

# A file system of $2's packages in the folder $1.
debian_rootfs() {
    local rootfs=$1 name=$2 mirror suite
    type -P debootstrap >/dev/null || die "debootstrap is missing: run examples/setup.sh"
    (( EUID == 0 )) || type -P sudo >/dev/null || die "debootstrap needs root: run examples/bases.sh as root once"
    read -r mirror suite < <(mirror)
    # In a mount namespace of its own, so that nothing stays mounted however this ends.
    "${root[@]}" unshare --mount --propagation private \
        debootstrap --variant=minbase --include="${packages[$name]}" "$suite" "$rootfs" "$mirror" \
        >"$work/debootstrap.log" 2>&1 </dev/null || {
        tail -n 20 "$work/debootstrap.log" >&2
        die "cannot make $name: debootstrap did not get through"
    }
    if [[ -z ${SOURCE_DATE_EPOCH-} ]]; then SOURCE_DATE_EPOCH=$(release_date "$rootfs"); fi
    # What differs from run to run or from machine to machine, and what no build reads.
    "${root[@]}" env -C "$rootfs" bash -euc '
        shopt -s dotglob nullglob
        rm -rf --one-file-system dev/* proc/* sys/* run/* tmp/* var/tmp/* \
            var/cache/apt/* var/cache/debconf/* var/cache/ldconfig/* var/lib/apt/lists/* var/lib/dpkg/*-old \
            etc/{hostname,hosts,resolv.conf,machine-id} etc/{passwd,group,shadow,gshadow,subuid,subgid}- \
            usr/share/{info,lintian,locale,man}/*
        find var/log -type f -delete
        find usr/share/doc -mindepth 1 ! -type d ! -name copyright -delete
        sed -i -E "s/^([^:]*:[^:]*):[0-9]+:/\1:$1:/" etc/shadow
    ' bash $(( SOURCE_DATE_EPOCH / 86400 ))
}

# A file system of busybox alone, with a link for each of its commands, in the folder $1.
busybox_rootfs() {
    local rootfs=$1 program applet
    program=$(type -P busybox) || die "busybox is missing: run examples/setup.sh"
    if [[ -z ${SOURCE_DATE_EPOCH-} ]]; then SOURCE_DATE_EPOCH=$(stat --format=%Y "$program"); fi
    mkdir -p "$rootfs"/{bin,etc,home,root,sbin,tmp,usr/bin,usr/sbin,var/spool/mail}
    chmod 0700 "$rootfs/root"
    chmod 1777 "$rootfs/tmp"
    install -m 0755 "$program" "$rootfs/bin/busybox"
    while read -r applet; do
        [[ $applet == bin/busybox ]] || ln -sf /bin/busybox "$rootfs/$applet"
    done < <("$program" --list-full)
    printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false >"$rootfs/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: >"$rootfs/etc/group"
    printf '%s\n' 'root:*::0:::::' 'nobody:*::0:::::' >"$rootfs/etc/shadow"
    chmod 0640 "$rootfs/etc/shadow"
}

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# Moves the file $1 into the blobs of the layout $2 and prints `"digest": ..., "size": ...` of its descriptor.
blob() {
    local sha256
    sha256=$(digest "$1")
    printf '"digest":"sha256:%s","size":%s' "$sha256" "$(stat --format=%s "$1")"
    mv "$1" "$2/blobs/sha256/$sha256"
}

# An OCI layout in the folder $2 of one layer, which holds the folder $1.
layout() {
    local rootfs=$1 layout=$2 created diff_id layer config manifest architecture
    architecture=$(dpkg --print-architecture)
    created=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
    mkdir -p "$layout/blobs/sha256"
    local owner=()
    # What an ordinary user made belongs to root in the image all the same.
    if [[ $name == busybox ]]; then owner=(--owner=0 --group=0); fi
    "${root[@]}" tar --create --directory="$rootfs" --sort=name --format=gnu --numeric-owner "${owner[@]}" \
        --mtime="@$SOURCE_DATE_EPOCH" --clamp-mtime . >"$work/layer.tar"
    diff_id=$(digest "$work/layer.tar")
    gzip --no-name -6 "$work/layer.tar"
    layer=$(blob "$work/layer.tar.gz" "$layout")
    cat >"$work/config" <<EOF
{"created":"$created","architecture":"$architecture","os":"linux","config":{"Env":["PATH=$path"],"Cmd":["sh"]},\
"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]},\
"history":[{"created":"$created","created_by":"examples/bases.sh $name"}]}
EOF
    config=$(blob "$work/config" "$layout")
    cat >"$work/manifest" <<EOF
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",\
"config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config},\
"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",$layer}]}
EOF
    manifest=$(blob "$work/manifest" "$layout")
    cat >"$layout/index.json" <<EOF
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",\
"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest,\
"platform":{"architecture":"$architecture","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}
EOF
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
}

make() {
    local name=$1 want
    want="$recipe ${packages[$name]-} ${SOURCE_DATE_EPOCH-}"
    if [[ -e $bases/$name/index.json && $(cat "$bases/.$name.recipe" 2>/dev/null) == "$want" ]]; then
        return
    fi
    echo "making $name in $bases" >&2
    work=$(mktemp --directory "$bases/.work.XXXXXX")
    trap '"${root[@]}" rm -rf --one-file-system "$work"' EXIT
    case $name in
        busybox) busybox_rootfs "$work/rootfs" ;;
        *) debian_rootfs "$work/rootfs" "$name" ;;
    esac
    layout "$work/rootfs" "$work/layout"
    rm -rf "${bases:?}/$name"
    mv "$work/layout" "$bases/$name"
    echo "$want" >"$bases/.$name.recipe"
}

names=("$@")
(( $# )) || names=(busybox debian-gcc debian-python)
for name in "${names[@]}"; do
    [[ $name == busybox || -n ${packages[$name]-} ]] || die "no base image is called $name"
done
mkdir -p "$bases"
bases=$(cd "$bases" && pwd)
# One at a time: the second finds what the first made.
exec 9>"$bases/.lock"
flock 9
for name in "${names[@]}"; do
    # In a process of its own, so that each image has its own default for SOURCE_DATE_EPOCH.
    (make "$name")
done
