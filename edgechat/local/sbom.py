"""`make sbom`: the packages of production with their versions, licences and dependencies, as CycloneDX.

They are those of requirements.txt as they are installed here, among the packages of development. The image has such a
list of its own packages (Dockerfile).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgechat import __version__
from edgechat.local.process import LocalError

_PROJECT = Path(__file__).parents[2]
_OUTPUT = _PROJECT / "sbom.cdx.json"
_ROOT = "edgechat"
# Their metadata name their licence in words of their own.
_LICENCES = {"protobuf": "BSD-3-Clause", "uritemplate": "BSD-3-Clause OR Apache-2.0"}


def write_sbom() -> int:
    """Write the list to `sbom.cdx.json`; a step of `make`. Raises LocalError."""
    _OUTPUT.write_text(json.dumps(make_sbom(), indent=2) + "\n")
    print(_OUTPUT.name)
    return 0


def make_sbom() -> dict[str, Any]:
    """The list as an object of CycloneDX 1.6. Raises LocalError."""
    # Its own validation takes twenty seconds, so a test does it.
    tool = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", sys.executable, "--no-validate"]
    command = [*tool, "--output-reproducible", "--output-format", "JSON", "--output-file", "-"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalError(f"cyclonedx-py failed: {error}") from error
    sbom: dict[str, Any] = json.loads(done.stdout)
    direct, all_of_them = _requirements()
    sbom["components"] = [each for each in sbom["components"] if canonicalize_name(each["name"]) in all_of_them]
    for each in sbom["components"]:
        if not each.get("licenses"):
            each["licenses"] = [
                {"expression": _LICENCES[canonicalize_name(each["name"])], "acknowledgement": "concluded"}
            ]
    references = {each["bom-ref"]: canonicalize_name(each["name"]) for each in sbom["components"]}
    sbom["dependencies"] = [
        {**each, "dependsOn": [other for other in each.get("dependsOn", []) if other in references]}
        for each in sbom["dependencies"]
        if each["ref"] in references
    ]
    root = {"bom-ref": _ROOT, "type": "application", "name": _ROOT, "version": __version__}
    sbom["metadata"]["component"] = {**root, "licenses": [{"license": {"id": "MIT"}}]}
    needed = [reference for reference, name in references.items() if name in direct]
    sbom["dependencies"].insert(0, {"ref": _ROOT, "dependsOn": needed})
    return sbom


def _requirements() -> tuple[set[str], set[str]]:
    """The names of the packages that EdgeChat imports itself, and those of all."""
    text = (_PROJECT / "requirements.txt").read_text()
    return _names(text.partition("# What those bring along")[0]), _names(text)


def _names(text: str) -> set[str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name) for line in lines}
