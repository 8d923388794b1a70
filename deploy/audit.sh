#!/bin/sh
# Known holes in the locked packages (our own table, then pip-audit), and what the product is made of (sbom.json, CycloneDX).
set -eu
cd "$(dirname "$0")/.."
export UV_SYSTEM_CERTS=1
uv=$(command -v uv || echo .venv-tools/bin/uv)
.venv/bin/python -m app.doctor.floors
locked=$(mktemp)
trap 'rm -f "$locked"' EXIT
"$uv" export -q --frozen --no-default-groups --format requirements-txt --output-file "$locked"
echo "Locked with hashes: $(grep -c -- '^[a-zA-Z0-9].*==' "$locked") packages"
"$uv" tool run -q --from cyclonedx-bom cyclonedx-py requirements --output-file sbom.json "$locked"
echo "Written: sbom.json"
# --strict: a package that could not be looked up is no good news.
"$uv" tool run -q pip-audit --strict --require-hashes --disable-pip --requirement "$locked"
