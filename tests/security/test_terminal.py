"""What the folder, the provider or a caller names is shown on one line, and commands neither a terminal nor a CI service."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.cli.console import err, out
from reconciler.cli.running import ConsoleReporter
from reconciler.cli.tables import bare_table
from reconciler.cli.terminal import print_error
from reconciler.core.printable import printable
from reconciler.core.states import Record, Status
from reconciler.store.values import Change, HistoryEntry
from tests.cli.shell import SPEC, Shell
from tests.store.builders import record
from tests.support.database import open_repository
from tests.support.nursery import REPOSITORY

HOSTILE = "::add-mask::x\x1b]52;c;aGk=\x07\x9b31m\r\n::add-mask::y\u202e\u200b\u2028##[add-path]z\udce9\t:heart:"
"""OSC 52 writes a clipboard, CSI comes in one character too; a CI service obeys lines; marks turn and hide letters."""
FOLDER = "::add-mask::x\x9b31m\u202e\u200b\u2028##[add-path]z:heart:"
"""What of it may stand in the name of a folder of specs."""
KEY = json.dumps(HOSTILE.replace("\udce9", ""))  # as YAML has it, too
RECEIPT: dict[str, Any] = {
    "schema": 1,
    "generations": [
        {
            "external_task_id": "mc1-qxb3rggtdhpty43aoj27wuanuz",
            "task_id": "1",
            "label": "",
            "status": "complete",
            "request": {},
            "outputs": [],
            "units": "4",
            "created_at": "2026-11-20T10:00:00Z",
            "finished_at": "2026-11-20T10:09:00Z",
        }
    ],
}


def assert_harmless(said: str, *, at: str = "") -> None:
    """Every line can be printed, none is a command, and nothing turned into a picture."""
    for line in said.split("\n"):
        assert line.isprintable(), (at, line)
        assert not line.lstrip().startswith("::"), (at, line)
        assert "##[" not in line, (at, line)
        assert "❤" not in line, (at, line)


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """A project in which everything that can have a name has a hostile one."""
    for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_API_KEY", "KLING_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    shell = Shell(tmp_path / HOSTILE / "project", capsys)
    folder = shell.root / "specs" / FOLDER
    folder.mkdir()
    (folder / "good.yaml").write_text(f"{SPEC}prompt: {KEY}\nmatrix: {{prompt: [{KEY}, other]}}\n")
    (folder / "plain.yaml").write_text(f"{SPEC}prompt: {KEY}\n")
    (folder / "key.yaml").write_text(f"{SPEC}{KEY}: 1\n")
    (folder / "value.yaml").write_text(SPEC.replace("std", KEY))
    (folder / "missing.yaml").write_text(SPEC.replace("https://example.com/girl.png", KEY))
    (folder / "toml.toml").write_text(f"{KEY} = {KEY}\n")
    (folder / "json.json").write_text("{" + KEY + ": 1")
    (folder / f"{FOLDER}.yaml").write_text(SPEC)
    (folder / f"{HOSTILE}.yaml").write_text(SPEC)
    (folder.with_name(HOSTILE)).mkdir()
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "_defaults.yml").write_text("")
    (folder / FOLDER / "below.yaml").write_text(SPEC)
    (folder / "value.receipt.json").write_text("{" + KEY)
    return shell


@pytest.mark.parametrize(
    ("command", "env"),
    [
        ("validate", {}),
        ("plan", {}),
        ("status", {}),
        ("show SPEC", {}),
        ("show HOSTILE", {}),
        ("spend", {}),
        ("spend --by spec", {}),
        ("spend --by folder --csv -", {}),
        ("spend HOSTILE", {}),
        ("apply --yes", {}),
        ("watch --no-http", {}),
        ("prune --yes", {}),
        ("retry HOSTILE", {}),
        ("forget HOSTILE --yes", {}),
        ("import HOSTILE --yes", {}),
        ("refresh", {}),
        ("doctor --quick", {}),
        ("init HOSTILE", {}),
        ("HOSTILE", {}),
        ("plan --HOSTILE", {}),
        ("plan", {"RECONCILER_MAX_UNITS_PER_DAY": HOSTILE}),
        ("plan", {"RECONCILER_UNIT_PRICE": "1", "RECONCILER_CURRENCY": HOSTILE}),
        ("plan", {"RECONCILER_SPECS_DIR": HOSTILE}),
        ("doctor --quick", {"RECONCILER_STATE_DIR": HOSTILE, "KLING_BASE_URL": "http://127.0.0.1:9"}),
        ("doctor --quick", {"KLING_BASE_URL": f"https://{HOSTILE}"}),
    ],
)  # fmt: skip
def test_no_command_lets_a_name_write_to_the_terminal(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str, env: dict[str, str]
) -> None:
    """Escapes stand for what cannot be printed, in every sentence, table and cell; nobody forges a line of a CI log."""
    monkeypatch.chdir(shell.root)
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    replaced = {
        "HOSTILE": HOSTILE,
        "SPEC": f"specs/{FOLDER}/plain.yaml",
        "--HOSTILE": f"--{HOSTILE}",
    }
    _, said, complained = shell(*(replaced.get(word, word) for word in command.split()))
    assert_harmless(said, at="stdout")
    assert_harmless(complained, at="stderr")
    assert said or complained
    if command in {"validate", "plan", "status", "show SPEC"} and not env:
        assert r"\u009b31m\u202e\u200b\u2028#\u0023[add-path]z:heart:" in said + complained


@pytest.mark.parametrize("command", ["show ID", "forget ID --yes"])
def test_no_word_of_the_providers_is_more_than_a_word(shell: Shell, command: str) -> None:
    """Whatever a state of any age holds as its answers: neither escapes nor the console's own markup, which knows links."""
    words = HOSTILE.replace("\udce9", "") + "[/x][link=https://example.com]here[/link]"
    failed = record(
        status=Status.FAILED,
        reason=words,
        task_id="1",
        label=words,
        spec=f"specs/{FOLDER}/gone.yaml",
    )
    entry = HistoryEntry("mc1-a", 1, "failed", words, words)
    repository = open_repository(shell.root / "state" / "reconciler.db")
    repository.save([Change(failed, None, (entry,))])
    repository.close()
    _, said, complained = shell(*command.replace("ID", "mc1-a").split())
    assert_harmless(said + complained)
    assert "mc1-a" in said + complained
    if command.startswith("show"):
        assert said.count("[/x][link=https://example.com]here[/link]") == 3


@pytest.mark.parametrize("command", ["validate", "plan", "status", "show"])
def test_json_keeps_every_letter_and_shows_none_that_cannot_be_printed(
    shell: Shell, command: str
) -> None:
    """A program reads the true name; a terminal that shows the document is told nothing by it."""
    more = [f"specs/{FOLDER}/plain.yaml"] if command == "show" else []
    _, said, _ = shell(command, *more, "--json")
    assert_harmless(said)
    names = {part for text in texts(json.loads(said)) for part in text.split("/")}
    assert FOLDER in names


def texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def test_a_sheet_gets_no_formula_and_no_line_that_is_not_a_row(shell: Shell) -> None:
    """CSV is read by spreadsheets and by people: a name that begins as a formula does is a text, on one line."""
    names = ["=1+1", "+1", "-1+1", "@x", "＝1", HOSTILE.replace("\udce9", "")]
    for number, name in enumerate(names):
        (entry,) = RECEIPT["generations"]
        changed = {
            "external_task_id": f"mc1-qxb3rggtdhpty43aoj27wuanu{'abcdef'[number]}",
            "task_id": str(number),
            "request": {"model_name": name},
        }
        text = json.dumps({**RECEIPT, "generations": [{**entry, **changed}]})
        (shell.root / "specs" / f"{number}.receipt.json").write_text(text)
    code, said, _ = shell("spend", "--by", "model", "--csv", "-")
    assert code == 0
    assert_harmless(said)
    rows = list(csv.reader(io.StringIO(said)))
    assert len(rows) == len(said.splitlines())
    found = {row[0] for row in rows}
    assert {f"'{name}" for name in names[:-1]} <= found
    assert printable(names[-1]) in found


def test_a_sentence_that_forgot_is_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the console that escapes, in strings, cells and folded lines, whatever a new sentence does."""
    hostile = HOSTILE.replace("[", "")
    table = bare_table(["a", "b"], [])
    table.add_row("x", hostile * 20)
    for console in (out, err):
        console.print(hostile)
        console.print(table)
        console.print(f"[red]{hostile}[/]")
    print_error(hostile, hostile)
    failed = Record(
        external_task_id="mc1-x",
        base_id="mc1-x",
        status=Status.FAILED,
        request="{}",
        spec=hostile,
        label=hostile,
        reason=hostile,
    )
    with ConsoleReporter(1) as progress:
        progress.changed(failed)
        progress.held(failed, hostile)
        progress.say(hostile)
    said = capsys.readouterr()
    assert_harmless(said.out)
    assert_harmless(said.err)
    assert len(said.err.splitlines()) > 10


STRANGERS = """
import logging, sys, threading, warnings
from reconciler.cli import streams
streams.secure()
hostile = sys.stdin.read()
warnings.warn(hostile)
logging.getLogger("some.library").warning(hostile)
def fail(): raise ValueError(hostile)
thread = threading.Thread(target=fail, name=hostile)
thread.start()
thread.join()
print(hostile)
from reconciler.cli.console import err
err.print("[red]ours[/]")
streams.end(0)
"""


def test_what_a_library_writes_by_itself_is_harmless_too() -> None:
    """Warnings, records that nobody handles, tracebacks of threads: the streams escape; our own colours go on working."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGERS],
        cwd=REPOSITORY,
        input=HOSTILE.replace("\udce9", ""),
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    *lines, ours = done.stderr.rstrip("\n").split("\n")
    assert ours == "\x1b[31mours\x1b[0m"
    assert_harmless("\n".join(lines) + done.stdout)
    assert done.stderr.count("]52") >= 3
    assert "]52" in done.stdout


@settings(max_examples=50)
@given(st.text())
@example(HOSTILE)
@example("##vso[task.setvariable]x")
@example(" ::debug::x")
@example(r"##\[x")
def test_escapes_are_those_of_json(text: str) -> None:
    """One line, no command, and inside of a JSON text the same value."""
    shown = printable(text)
    assert shown.isprintable()
    assert not shown.lstrip().startswith("::")
    assert "##[" not in shown
    assert "##vso[" not in shown
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    "text",
    [
        "a dance",
        "tänzer 跳舞 — café",
        "a::b",
        "http://[::1]:8787/",
        "# 1 ## 2",
        "C:\\x",
        "[x]",
        "😀",
    ],
)
def test_what_everybody_writes_stays_as_it_is(text: str) -> None:
    """Letters of every language, addresses, headings."""
    assert printable(text) == text
