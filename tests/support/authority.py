"""The one authority whose certificates are believed in tests: reading all of the world's takes every client 26 ms.

Nobody has its key. No test meets a certificate, but for those that name an authority of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

import certifi

FILE = Path(__file__).with_suffix(".pem")


def trust_it_alone() -> None:
    """Let every client of this process, and of what it starts, believe this authority and no other."""
    os.environ["SSL_CERT_FILE"] = str(FILE)
    certifi.where = lambda: str(FILE)  # what httpx reads where the environment is not asked
