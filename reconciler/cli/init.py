"""The command that makes a starting folder. It adds what is missing and never touches what is there."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from reconciler.cli.terminal import out
from reconciler.core.errors import WorkspaceError
from reconciler.core.kinds import schema
from reconciler.workspace.files.plain import open_plain
from reconciler.workspace.tree.ignoring import IGNORE_FILE

SCHEMA = "spec.schema.json"
_MOST_READ = 1024 * 1024  # bytes of somebody's `.gitignore`


def init(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder to begin in; it is made if it does not exist."
        ),
    ] = Path(),
) -> None:
    """Make a starting folder: a sample spec, .gitignore, .reconcilerignore, .env.example and a schema for editors."""
    root: Path | None = context.obj[0]
    if root is not None:  # `--root DIR`, as `git -C DIR`
        folder = root / folder
    templates = files("reconciler.cli") / "starter"
    contents = {
        "specs/dance.yaml": (templates / "dance.yaml").read_text(encoding="utf-8"),
        ".gitignore": (templates / "gitignore").read_text(encoding="utf-8"),
        IGNORE_FILE: (templates / "reconcilerignore").read_text(encoding="utf-8"),
        ".env.example": (templates / "env.example").read_text(encoding="utf-8"),
        SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }
    if (folder / "specs").exists():  # somebody's already: a sample in it would be a wish to buy
        del contents["specs/dance.yaml"]
    written = [name for name, text in contents.items() if _add(folder, name, text)]
    ignored: list[str] = []
    with (
        suppress(OSError),
        open_plain(folder / ".gitignore") as file,
    ):  # git reads nothing of one that is no plain file
        ignored = file.read(_MOST_READ).decode("utf-8", "replace").split()
    if lacking := [name for name in ("state/", ".env") if name not in ignored]:
        out.print(f"  `.gitignore` is yours; add to it: {' '.join(lacking)}")
    if not written:
        out.print(f"Nothing to do: {escape(str(folder.resolve()))} already has everything.")
    else:
        out.print(
            "Next: copy `.env.example` to `.env`, put your key into it, and run `reconciler plan`."
        )


def _add(folder: Path, name: str, text: str) -> bool:
    """Write a file that is not there yet, and say so; whether it was written."""
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.parent.is_dir():
            return False
        raise WorkspaceError(f"`{path.parent}` is a file", hint="Name another folder.") from None
    except OSError as error:
        hint = "Name a folder that you can write to."
        raise WorkspaceError(f"`{path}` cannot be written: {error.strerror}", hint=hint) from error
    out.print(f"  wrote {escape(name)}")
    return True
