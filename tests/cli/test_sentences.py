"""What people read is English: a hint is a whole sentence, nothing ends twice, and one thing is one thing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.cli import views
from reconciler.cli.terminal import print_error
from reconciler.core.errors import StateError, counted, told
from tests.cli.shell import SPEC, Shell
from tests.support.simulator import simulator

PACKAGE = Path(__file__).resolve().parents[2] / "reconciler"


def texts(node: ast.expr) -> Iterator[str]:
    """Give every text that an expression can come to; what is put in is shown as `{}`."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
            )
        case ast.IfExp(body=first, orelse=second):
            yield from (*texts(first), *texts(second))


def test_every_hint_is_a_sentence() -> None:
    """It begins with a capital or a command, and ends as a sentence does, once."""
    seen = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.keyword(arg="hint"):
                    pass
                case ast.Assign(targets=[ast.Name(id="hint" | "_HINT" | "_URL_HINT")]):
                    pass
                case _:
                    continue
            for text in texts(node.value):
                seen += bool(text)
                where = f"{path.relative_to(PACKAGE)}:{node.value.lineno}: {text!r}"
                assert not text or text[0].isupper() or text[0] in "`{", where
                assert not text or text.endswith((".", "?", "{}")), where
                assert ".." not in text.replace("..`", "").replace("...", ""), where
    assert seen > 50


@pytest.mark.parametrize("message", ["it is so", "it is so."])
def test_no_sentence_ends_twice(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether or not a layer below ends its message, what is shown has one full stop."""
    assert told(StateError(message, hint="Do this.")) == "it is so. Do this."
    print_error(message, "Do this.")
    assert capsys.readouterr().err == "error: it is so\n       Do this.\n"


def test_one_thing_is_one_thing() -> None:
    """Numbers of things have separators, and one is not a plural."""
    assert [counted(number, "file") for number in (0, 1, 2048)] == [
        "0 files",
        "1 file",
        "2,048 files",
    ]
    assert views.units_and_money(Decimal(1), None) == "1 unit"
    assert views.units_and_money(Decimal("1.5"), None) == "1.5 units"


def test_a_folder_with_one_generation_speaks_of_one(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`plan`, `doctor` and `spend` of a single spec that is complete."""
    shell.write("dance.yaml", SPEC)
    with simulator(tmp_path / "simulator") as sim:
        for name, value in sim.env().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RECONCILER_POLL_INTERVAL", "0.05")
        assert shell("apply", "--yes")[0] == 0
        assert shell("plan")[1] == "Nothing to do: 1 generation is complete.\n"
        checks = shell("doctor", "--quick")[1]
    for sentence in ("holds 1 spec\n", "1 generation on record\n", "for 1 folder\n"):
        assert sentence in checks
