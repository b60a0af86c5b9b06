"""Which file systems report no changes that are made elsewhere. It reads the system's table of mounts only."""

from __future__ import annotations

import os
import re
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")

# Some report what this machine changes; none reports what the others do.
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "9p", "v9fs", "afs", "ceph", "coda", "davfs", "drvfs", "gfs2",
     "glusterfs", "gpfs", "lustre", "ncp", "ncpfs", "ocfs2", "orangefs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"}
)  # fmt: skip
_USER_SPACE = (
    "fuse."  # sshfs, rclone, …: a program answers, and the kernel sees no change behind it
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def remote_file_system(path: Path) -> str:
    """Return the type of the file system that holds a path when it is a remote one, or an empty string."""
    try:
        table = TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux
    real, best, kind = f"{os.path.realpath(path)}/", "", ""
    for line in table.splitlines():
        fields = line.split(" ")
        if len(fields) < 9 or "-" not in fields[6:-1]:
            continue
        where = _ESCAPED.sub(lambda code: chr(int(code.group(1), 8)), fields[4]).rstrip("/") + "/"
        if real.startswith(where) and len(where) >= len(best):  # what is mounted later lies on top
            best, kind = where, fields[fields.index("-", 6) + 1]
    return kind if kind in _REMOTE or kind.startswith(_USER_SPACE) else ""
