# shellcheck shell=bash disable=SC2034 # the including scripts use the variables
# Functions that the scripts for images and clusters share; source it from the repository's root.
version=$(awk -F '"' '/^version = / { print $2; exit }' pyproject.toml)
kind_cluster=posecluster
dry_run=""

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

read_dry_run() { # ARGUMENT...: sets dry_run if the first one is --dry-run
  if [ "${1:-}" = --dry-run ]; then dry_run=yes; fi
}

run() { # COMMAND...: print it, and run it unless this is a dry run
  printf '+ %s\n' "$(printf '%q ' "$@")" >&2
  [ -n "$dry_run" ] || "$@"
}

need() { # PROGRAM...: fail if one is not on PATH, unless this is a dry run
  local program
  [ -z "$dry_run" ] || return 0
  for program in "$@"; do
    command -v "$program" >/dev/null || fail "needs $program: install it and put it on PATH"
  done
}

engine_works() { # ENGINE: docker works only if its daemon runs
  command -v "$1" >/dev/null && { [ "$1" != docker ] || docker info >/dev/null 2>&1; }
}

find_engine() { # prints docker, podman or buildah; a dry run does not need it to be installed
  local name
  case ${ENGINE:-} in
  docker | podman | buildah)
    [ -n "$dry_run" ] || engine_works "$ENGINE" || fail "ENGINE=$ENGINE does not work here: is it installed, and is its daemon running?"
    echo "$ENGINE"
    return
    ;;
  ?*) fail "ENGINE=$ENGINE: use docker, podman or buildah" ;;
  esac
  for name in docker podman buildah; do
    if engine_works "$name"; then
      echo "$name"
      return
    fi
  done
  [ -n "$dry_run" ] || fail "needs docker (with its daemon running), podman or buildah to build images"
  echo docker
}
