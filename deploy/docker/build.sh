#!/bin/bash
# `make image`: the Dockerfile -> an image in docker's store, or in buildah's where no docker engine answers.
# From the environment: TARGET (cpu, cuda, or build: the one with a compiler), IMAGE (its name; else swinserve:TARGET, as
# compose.yaml has it, and swinserve:VERSION-TARGET, as the Kubernetes overlays have it), the Dockerfile's BASE_IMAGE,
# TORCH_INDEX, MODELS and TUNE, and CERTIFICATES, a file of those that the package index is checked with.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${TARGET:-cpu}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
arguments=(--file deploy/docker/Dockerfile --target "$target" --build-arg "VERSION=$version")
if [ -n "${IMAGE:-}" ]; then
  arguments+=(--tag "$IMAGE")
else
  arguments+=(--tag "swinserve:$target" --tag "swinserve:$version-$target")
fi
if revision=$(git rev-parse HEAD 2>/dev/null); then
  arguments+=(--build-arg "REVISION=$revision")
fi
for name in BASE_IMAGE TORCH_INDEX MODELS TUNE; do
  if [ -n "${!name:-}" ]; then
    arguments+=(--build-arg "$name=${!name}")
  fi
done
if [ -n "${CERTIFICATES:-}" ]; then
  arguments+=(--secret "id=certificates,src=$CERTIFICATES")
fi

if docker info >/dev/null 2>&1; then
  DOCKER_BUILDKIT=1 docker build "${arguments[@]}" .
elif command -v buildah >/dev/null; then
  # The OCI format has no health check.
  buildah build --format docker --layers "${arguments[@]}" .
else
  echo "make image: neither a docker engine nor buildah is here (Debian: apt install buildah)" >&2
  exit 2
fi
