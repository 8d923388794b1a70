#!/bin/sh
# The image for Intel/AMD and for ARM (Raspberry Pi, Graviton). IMAGE names it, PUSH=1 sends it to its registry.
set -eu
cd "$(dirname "$0")/../.."
image=${IMAGE:-fastapi-agent-chat:$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
docker buildx inspect chat-multiarch >/dev/null 2>&1 || docker buildx create --name chat-multiarch --driver docker-container >/dev/null
exec docker buildx build --builder chat-multiarch --platform linux/amd64,linux/arm64 \
    --build-arg REVISION="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" --tag "$image" ${PUSH:+--push} .
