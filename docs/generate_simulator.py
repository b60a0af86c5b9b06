"""Writes the tables of knobs in `docs/simulator.md` out of the simulator's own words; `--check` only compares.

    .venv/bin/python docs/generate_simulator.py

The words stand beside the fields in `reconciler/simulator/`: correct them there, and run this again.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Literal, get_args, get_origin

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.knobs import KINDS
from reconciler.simulator.unknowns import Unknowns

PAGE = Path(__file__).with_name("simulator.md")
HEAD = "| knob | default | can be | what it decides |\n|---|---|---|---|\n"
UNKNOWN = [field.name for field in fields(Unknowns)]


def page() -> str:
    """Return the page as it should be: the text as it stands, and the tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    known = [name for name in KINDS if name not in UNKNOWN]
    for mark, names in (("unknown", UNKNOWN), ("known", known)):
        begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{table(names)}{end}{rest.partition(end)[2]}"
    return text


def table(names: Iterable[str]) -> str:
    """Return the rows of some knobs."""
    said = {**_said(Unknowns), **_said(SimulatorConfig)}
    defaults = {field.name: field.default for field in fields(SimulatorConfig)}
    return HEAD + "".join(
        f"| `{name}` | {_shown(defaults[name])} | {_values(KINDS[name])} | {said[name]} |\n"
        for name in names
    )


def _said(kind: type) -> dict[str, str]:
    """Return the sentence that stands below each field of a class."""
    (body,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(body, ast.ClassDef)
    said = {}
    for pair in zip(body.body, body.body[1:], strict=False):
        match pair:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                said[name] = " ".join(words.split())
    return said


def _shown(default: object) -> str:
    assert default is not MISSING
    text = f"{default:g}" if isinstance(default, float) else str(default)
    return f"`{text}`" if text else "empty"


def _values(kind: object) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    return "a whole number" if kind is int else "text" if kind is str else "a number"


def main() -> int:
    """Write the page, or with `--check` say whether it is what it should be."""
    wanted = page()
    if sys.argv[1:] == ["--check"]:
        return int(PAGE.read_text(encoding="utf-8") != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
