#!/bin/bash
# Builds stand-in base images from Debian packages, for machines where no image registry answers: root, a running Docker
# engine, debootstrap, Node with npm and (for MinIO) Go. An image whose recipe has not changed is kept.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
tools=$root/.run/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The mirrors of this machine's own packages.
sites=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages')
mirror=${DEBIAN_MIRROR:-$(grep -m1 '/debian/*$' <<<"$sites")}
security=$(grep -m1 'debian-security/*$' <<<"$sites")
label=avscan.stand-in

say() { printf '[stand-in] %s\n' "$*"; }
current() { docker image inspect -f "{{ index .Config.Labels \"$label\" }}" "$1" 2>/dev/null || true; }

# base NAME SUITE [SCRIPT]: a minimal Debian
base() {
  local image=avscan-stand-in/$1 hash=$1-2
  if [ "$(current "$image")" = "$hash" ]; then return; fi
  say "$1: debootstrap, about half a minute"
  debootstrap --variant=minbase "$1" "$work/$1" "$mirror" "${2:-}" >"$work/$1.log" 2>&1 || { tail -20 "$work/$1.log" >&2; exit 1; }
  rm -rf "$work/$1"/var/cache/apt/archives/*.deb "$work/$1"/var/lib/apt/lists/*
  if [ "$1" = bookworm ]; then
    echo "deb $security bookworm-security main" >"$work/$1/etc/apt/sources.list.d/security.list"
  fi
  tar -C "$work/$1" -c . | docker import --change "LABEL $label=$hash" - "$image" >/dev/null
  rm -rf "${work:?}/$1"
}

# image NAME FILE…: the Dockerfile's folder plus these files as the context
image() {
  local name=$1 image=avscan-stand-in/$1
  shift
  local context=$work/context-$name
  mkdir -p "$context"
  cp -r "$here/$name/." "$context/"
  local file
  for file in "$@"; do cp -rL "${file#*=}" "$context/${file%%=*}"; done
  local parent hash
  parent=$(sed -n 's/^FROM //p' "$context/Dockerfile" | head -1)
  hash=$( (docker image inspect -f '{{ .Id }}' "$parent"; cd "$context" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-32)
  if [ "$(current "$image")" != "$hash" ]; then
    say "$name: building"
    DOCKER_BUILDKIT=0 docker build --quiet --label "$label=$hash" --tag "$image" "$context" >"$work/$name.log" 2>&1 || { tail -30 "$work/$name.log" >&2; exit 1; }
  fi
  rm -rf "$context"
}

find_tool() { PATH="$tools:$PATH" command -v "$1" || true; }

node=$root/node_modules/node/bin/node
[ -x "$node" ] || { say 'node_modules/node is missing: run npm ci first' >&2; exit 1; }
# Where deploy would find or build them.
store=$("$node" "$root/testing/support/store-programs.ts" minio)
minio=$(sed -n 's/^minio=//p' <<<"$store")
mc=$(sed -n 's/^mc=//p' <<<"$store")
rest=$(find_tool clamav-rest)
cas=/etc/ssl/certs/ca-certificates.crt

base bookworm
base forky sid
image rabbitmq
image clamav
image node "node=$node" "npm=$(npm root --global)/npm" "machine-cas.crt=$cas"
image store "minio=$minio" "mc=$mc"
if [ -n "$rest" ]; then image clamav-rest "clamav-rest=$rest"; fi
say 'ready'
