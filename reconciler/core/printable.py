"""Text from elsewhere (a name, a key, the provider's words), escaped so that it is one line and commands nothing.

Terminals obey escape sequences, bidi marks hide text, and CI services obey `::` at a line's begin, and `##[…]`.
"""

from __future__ import annotations

import json
import re
from typing import Final

_COMMAND: Final = re.compile(r"(?<=#)#(?=\w*\\*\[)|^((?:\s|\[[^\]\\]*\])*):(?=:)")
"""The letter by which a command is one; before the `::` of a line there may be blanks, and markup of the console."""


def printable(text: str) -> str:
    """Return a text with unprintable letters and beginnings of commands as escapes, which JSON reads back."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
    if "##" in text or "::" in text:
        text = _COMMAND.sub(lambda found: rf"{found[1] or ''}\u{ord(found[0][-1]):04x}", text)
    return text


def printable_lines(text: str) -> str:
    """Return a text with each of its lines `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def labelled(spec: str, label: str) -> str:
    """Return a generation's name for people: its spec, and its label where it has one."""
    return f"{spec} [{label}]" if label else spec
