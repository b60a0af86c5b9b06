"""The pinned dependencies against the package index's list of known vulnerabilities, by pip-audit.

    python .ci/audit.py [requirements.lock]

A known vulnerability fails. A service that cannot be asked, or that does not answer for a package, does not: the same
change must not be good in the morning and bad in the evening because of somebody else's server. It is said loudly
instead, on stderr, with how many were not checked; AUDIT_REQUIRED=1 makes that a failure too (for a nightly run).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 300
"""Seconds for the whole audit; about a hundred short answers are needed."""
PATIENCE = 15
"""Seconds for one of them."""


def main(arguments: Sequence[str]) -> int:
    """Audit a lock file; return the exit code."""
    lock = Path(arguments[0] if arguments else "requirements.lock")
    code, sentence = verdict(asked(lock), required=os.environ.get("AUDIT_REQUIRED") == "1")
    sys.stderr.write(sentence + "\n")
    return code


def asked(lock: Path) -> Mapping[str, Any] | None:
    """Return pip-audit's report on a lock file, None when it has none to give."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(  # noqa: S603 - every word is ours
            [*command, "--timeout", str(PATIENCE)],
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return report if isinstance(report, dict) else None


def verdict(report: Mapping[str, Any] | None, *, required: bool) -> tuple[int, str]:
    """Return the exit code and what to say; `required` makes a package that nobody answered for a failure."""
    packages = [] if report is None else report.get("dependencies", [])
    bad = [package for package in packages if package.get("vulns")]
    if bad:
        named = "; ".join(f"{_name(package)}: {_ids(package)}" for package in bad)
        return 1, f"audit: known vulnerabilities in {named}. Raise the version and run `make lock`."
    missed = [package for package in packages if "vulns" not in package]
    if packages and not missed:
        return 0, f"audit: no known vulnerability in {len(packages)} packages."
    many = f"{len(missed)} of {len(packages)} packages" if packages else "the packages"
    return int(required), (
        f"audit: NOT DONE. Nobody answered for {many}, so nothing is known of their "
        "vulnerabilities. Run `make audit` where the package index answers for each version."
    )


def _name(package: Mapping[str, Any]) -> str:
    return f"{package.get('name')} {package.get('version')}"


def _ids(package: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{found.get('id')} (mended in {', '.join(found.get('fix_versions', [])) or 'no version yet'})"
        for found in package["vulns"]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
