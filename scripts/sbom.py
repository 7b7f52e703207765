"""Write the images' bills of materials, CycloneDX 1.6 as JSON: sbom.py FOLDER (`make sbom`).

They list the locked Python packages with licences and dependencies, and for the server its model files and
native libraries. The contents of the base image are not included.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from posecluster_inference.models.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
CYCLONEDX = ROOT / "build" / "scanners" / "scan" / "bin" / "cyclonedx-py"
LOCK_FILES = {"inference": ("inference", "otel"), "operator": ("operator",)}  # of each image's packages
LICENSES = {
    "protobuf": "BSD-3-Clause"
}  # its wheel says "3-Clause BSD License", which is not an SPDX identifier
NATIVE = ("libegl1", "libgles2", "libglvnd0")  # as in inference/Dockerfile, stage libraries


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not CYCLONEDX.exists():
        sys.exit("sbom: run make scanners first")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in LOCK_FILES:
        target = folder / f"posecluster-{name}.cdx.json"
        target.write_text(json.dumps(_bill(name), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(target)
    return 0


def _bill(name: str) -> dict[str, Any]:
    """The packages of an environment that is made for this from the image's lock file, and the rest."""
    with tempfile.TemporaryDirectory(prefix="posecluster-sbom-") as scratch:
        environment, file = Path(scratch, "environment"), Path(scratch, "bill.json")
        _run(sys.executable, "-m", "venv", "--without-pip", environment)
        flags = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        python = environment / "bin" / "python"
        for lock in LOCK_FILES[name]:
            flags += ["--requirement", str(ROOT / "requirements" / f"{lock}.txt")]
        _run(BIN / "uv", "pip", "install", *flags, "--python", python)
        _run(CYCLONEDX, "environment", "--output-reproducible", "--output-file", file, python)
        bill: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    components = bill.get("components", [])
    for one in components:
        if not one.get("licenses") and one["name"] in LICENSES:
            one["licenses"] = [{"license": {"id": LICENSES[one["name"]]}}]
    if name == "inference":
        components += [*_models(), *({"type": "library", "name": library} for library in NATIVE)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = {
        "bom-ref": "image",
        "type": "container",
        "name": f"posecluster-{name}",
        "version": project["version"],
        "licenses": [{"license": {"id": project["license"]}}],
    }
    bill["components"] = components
    bill.setdefault("metadata", {})["component"] = root
    direct = [item["bom-ref"] for item in components if "bom-ref" in item]
    bill.setdefault("dependencies", []).append({"ref": "image", "dependsOn": sorted(direct)})
    return bill


def _models() -> list[dict[str, Any]]:
    """Each file that the catalogue accepts: which of them an image has stands in its detections.json."""
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"{model.file_name}-{pinned.sha256[:8]}",
            "name": model.file_name,
            "description": f"MediaPipe pose landmarker, {model.variant}; {pinned.origin}",
            "publisher": "Google",
            "hashes": [{"alg": "SHA-256", "content": pinned.sha256}],
            "licenses": [{"license": {"id": "Apache-2.0"}}],
        }
        for model in CATALOGUE
        for pinned in model.accepted
    ]


def _run(*command: Path | str) -> None:
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"sbom: {command[0]} failed:\n{done.stderr.decode(errors='replace')}")


if __name__ == "__main__":
    sys.exit(main())
