"""Checks the manifests against the published Kubernetes schemas, strictly (make check-kubernetes).

Takes what `kubectl kustomize` makes of them where kubectl is there, else the files as they are.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["kubernetes-validate==1.37.0", "pyyaml>=6"]
# ///

import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml

HERE = Path(__file__).parent
VERSIONS = ("1.31", "1.34", "1.37")


def manifests() -> str:
    """All resources as one YAML stream."""
    if shutil.which("kubectl"):
        return subprocess.run(
            ["kubectl", "kustomize", HERE], check=True, capture_output=True, text=True
        ).stdout
    return "\n---\n".join(
        path.read_text() for path in HERE.glob("*.yaml") if path.name != "kustomization.yaml"
    )


def main() -> int:
    """1 when a resource does not fit a schema."""
    wrong = 0
    resources = [resource for resource in yaml.safe_load_all(manifests()) if resource]
    for version in VERSIONS:
        for resource in resources:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                wrong += 1
                print(f"{version} {resource['kind']} {resource['metadata']['name']}: {error.message}")
    print(f"{len(resources)} resources, Kubernetes {', '.join(VERSIONS)}: {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
