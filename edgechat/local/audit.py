"""The check for known vulnerabilities in `make check`. A machine without access to the service skips it visibly."""

import json
import subprocess
import sys

# pip-audit's messages for a service that does not answer, or that has no advisories (a plain package index).
_UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "timed out",
    "Max retries",
    "ServiceError",
    "Could not",
)
_PIP_AUDIT = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10", "--format", "json")


def audit(requirements: str) -> int:
    """Audit a file of exact versions. 0 when no vulnerability is known or the service is out of reach, else 1."""
    command = [sys.executable, "-m", "pip_audit", "-r", requirements, *_PIP_AUDIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        if any(text in done.stderr for text in _UNREACHABLE):
            print("pip-audit: skipped, the advisory service can't be reached from this machine.")
            return 0
        print(done.stderr, file=sys.stderr)
        print(f"pip-audit failed with exit code {done.returncode}.", file=sys.stderr)
        return 1
    found = [(item, fault) for item in dependencies for fault in item.get("vulns", [])]
    for item, fault in found:
        versions = ", ".join(fault.get("fix_versions", [])) or "no version yet"
        print(f"{item['name']} {item['version']}: {fault['id']}, fixed in {versions}", file=sys.stderr)
    audited = [item for item in dependencies if "skip_reason" not in item]
    if not audited:
        print("pip-audit: skipped, the advisory service can't be reached from this machine.")
    else:
        print(f"pip-audit: {len(audited)} of {len(dependencies)} packages looked up, {len(found)} findings.")
    return 1 if found else 0
