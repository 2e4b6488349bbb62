"""`nox -s lint`: known vulnerabilities of the locked packages, or that none can be known.

    python -m tools.audit LOCK REQUIREMENT... [--require]

An index without advisories answers as if there were no vulnerabilities. So a release with
a well-known one is asked about first: only a service that knows it is believed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
CANARY = "jinja2==2.10"
"""Vulnerable since 2019: CVE-2019-10906."""


def main() -> int:
    """Audit, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lock", type=Path)
    parser.add_argument("requirements", nargs="*")
    parser.add_argument("--require", action="store_true", help="fail where nothing can be known")
    given = parser.parse_args()
    for service in SERVICES:
        if vulnerable(asked(service, CANARY + "\n")):
            wanted = given.lock.read_text() + "\n".join(given.requirements) + "\n"
            lines = complaints(asked(service, wanted))
            print("\n".join(lines) or f"no known vulnerability in {given.lock}, says {service}")
            return int(bool(lines))
    print(f"NOT AUDITED: no advisories can be had here, not even on {CANARY}")
    return int(given.require)


def asked(service: str, requirements: str) -> dict[str, Any]:
    """Return pip-audit's answer as it gives it; an empty one where it gives none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text(requirements)
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(path), "--no-deps"]
        command += ["--disable-pip", "--vulnerability-service", service, "--format", "json"]
        command += ["--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {}


def vulnerable(answer: dict[str, Any]) -> bool:
    """Tell whether an answer names a vulnerability."""
    return any(package.get("vulns") for package in answer.get("dependencies", ()))


def complaints(answer: dict[str, Any]) -> list[str]:
    """Return a line for every vulnerability, and for every package that was passed over."""
    packages = answer.get("dependencies", ())
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    lines += [f"{p['name']}: {p['skip_reason']}" for p in packages if "skip_reason" in p]
    return lines if packages else ["the packages were not audited: pip-audit gave no answer"]


if __name__ == "__main__":
    sys.exit(main())
