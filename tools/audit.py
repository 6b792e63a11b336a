"""Are there known vulnerabilities in what the lock files name? pip-audit asks the package index's database.

Owns the verdict. pip-audit passes over what it cannot look up, and ends alike on a finding and on a service that does not
answer; here these are three things. Status 0: all were looked up and nothing is known. 1: something is known. 3: not all
could be looked up, so nothing is said of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements-dev.txt", "policies/requirements.txt")
"""What the program needs is part of the first."""

VULNERABLE, UNKNOWN = 1, 3


def audit(locks: Sequence[str]) -> int:
    """Print what is known of the packages in the lock files; the exit status."""
    packages: dict[str, dict[str, Any]] = {}
    for lock in locks:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json",
             "--progress-spinner", "off", "--requirement", str(PROJECT / lock)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        try:
            found = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            reason = done.stderr.strip().splitlines() or ["no answer"]
            print(f"not audited: {lock}: {reason[-1]}")
            return UNKNOWN
        packages |= {f"{p['name']} {p.get('version')}": p for p in found}
    return verdict(list(packages.values()))


def verdict(packages: Sequence[dict[str, Any]]) -> int:
    """Print and judge pip-audit's list of packages."""
    vulnerable = {f"{p['name']} {p['version']}": p["vulns"] for p in packages if p.get("vulns")}
    for package, found in sorted(vulnerable.items()):
        for vulnerability in found:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
            print(
                f"{package}: {vulnerability['id']}, fixed in {fixed}. Raise it in the lock (make lock), or leave it out."
            )
    skipped = [p for p in packages if "skip_reason" in p]
    if skipped:
        print(f"not audited: {len(skipped)} of {len(packages)} packages, such as {skipped[0]['name']}:")
        print(f"  {skipped[0]['skip_reason']}")
    if vulnerable:
        return VULNERABLE
    if skipped:
        return UNKNOWN
    print(f"{len(packages)} packages: no vulnerability is known")
    return 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1:] or LOCKS))
