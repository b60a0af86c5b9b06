"""The daemon's log: one event, one line, for people and for machines; and nothing that happens to it matters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.log import LogReporter, open_log
from reconciler.core.errors import SettingsError
from reconciler.core.states import Record, Status
from tests.support.nursery import REPOSITORY

LARGE = 10_000_000


def record(status: Status = Status.COMPLETE, **fields: str) -> Record:
    name = "mc1-qxb3rggtdhpty43aoj27wuanuz"
    return Record(
        external_task_id=name,
        base_id=name,
        status=status,
        request="{}",
        spec=fields.get("spec", "specs/dance.yaml"),
        label=fields.get("label", "pro"),
        reason=fields.get("reason", ""),
    )


def test_a_line_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    """Time, status, spec, label, id, reason: on stderr, and stdout stays free."""
    with open_log("console", None, LARGE) as log:
        log.changed(record())
        log.changed(record(Status.FAILED, label="", reason="content policy"))
        log.say("the provider is silent")
        log.info("watching 3 specs")
    out, err = capfd.readouterr()
    assert out == ""
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in err.splitlines()]
    assert lines == [
        "complete specs/dance.yaml [pro] mc1-qxb3rggtdhpty43aoj27wuanuz",
        "failed specs/dance.yaml mc1-qxb3rggtdhpty43aoj27wuanuz  content policy",
        "warning: the provider is silent",
        "watching 3 specs",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in err.splitlines())


def test_a_line_for_machines(capfd: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line, with the same fields in each."""
    with open_log("json", None, LARGE) as log:
        log.changed(record(Status.FAILED, reason="content policy"))
        log.held(record(Status.PENDING), "a cap")
        log.say("the provider is silent")
        log.info("watching 3 specs")
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert {tuple(event) for event in events} == {
        (
            *("time", "level", "event", "message", "external_task_id", "spec", "label"),
            *("status", "reason"),
        )
    }
    told = [(event["level"], event["event"], event["status"], event["reason"]) for event in events]
    assert told == [
        ("warning", "changed", "failed", "content policy"),
        ("warning", "held", "blocked", "a cap"),
        ("warning", "warning", "", "the provider is silent"),
        ("info", "info", "", ""),
    ]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}[+-]\d\d:\d\d", event["time"]) for event in events
    )


def test_the_same_reason_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A generation that is held and held again is one line, until the reason is another or it has ended."""
    with open_log("console", None, LARGE) as log:
        for _ in range(3):
            log.held(record(), "a cap")
        log.held(record(), "the account")
        log.changed(record(Status.FAILED))
        log.held(record(), "the account")
    said = re.findall(
        r"(blocked|failed) .*?(a cap|the account|$)", capfd.readouterr().err, re.MULTILINE
    )
    assert [" ".join(words).strip() for words in said] == [
        "blocked a cap",
        "blocked the account",
        "failed",
        "blocked the account",
    ]


@given(st.text(st.characters()), st.sampled_from(["console", "json"]))
def test_no_words_forge_a_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, form: str
) -> None:
    """Whatever a name or the provider's words hold, an event is one line that can be printed, and JSON keeps them."""
    file = tmp_path_factory.mktemp("log") / "log"
    text += "\n2026-11-23 14:03:11 complete\x1b[2J\x7f\u2028\udc80\u202e"
    with open_log("json" if form == "json" else "console", file, LARGE) as log:
        log.changed(record(Status.FAILED, spec=text, label=text, reason=text))
        log.say(text)
    lines = file.read_text(encoding="utf-8").split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    if form == "json":
        assert json.loads(lines[0])["reason"] == text
        assert json.loads(lines[1])["reason"] == text


def test_a_file_is_bounded(tmp_path: Path) -> None:
    """The file and three older ones, none larger than allowed; the newest line is in the newest file."""
    file = tmp_path / "reconciler.log"
    with open_log("console", file, 10_000) as report:
        for number in range(2_000):
            report.info(f"line {number}")
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == [
        f"reconciler.log{end}" for end in ("", ".1", ".2", ".3")
    ]
    assert all(0 < path.stat().st_size <= 10_000 for path in files)
    assert file.read_text().endswith("line 1999\n")


def test_a_file_is_continued(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A restart appends, and stderr says nothing."""
    for number in range(2):
        with open_log("console", tmp_path / "log", LARGE) as report:
            report.info(f"life {number}")
    assert re.findall(r"life \d", (tmp_path / "log").read_text()) == ["life 0", "life 1"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["no/such/folder/log", "."])
def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path, name: str) -> None:
    """Found at the start, with the setting's name."""
    with (
        pytest.raises(SettingsError, match=r"RECONCILER_LOG_FILE: .* cannot be written"),
        open_log("console", tmp_path / name, LARGE),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines are lost, the work goes on, and no traceback is told."""
    (tmp_path / "log").symlink_to("/dev/full")
    with open_log("json", tmp_path / "log", LARGE) as log:
        for _ in range(1000):
            log.changed(record(reason="x" * 100))
    assert capfd.readouterr() == ("", "")


CLOSED = """
import os, sys
from reconciler.cli.log import open_log
with open_log("console", None, 10_000) as log:
    os.read(0, 1)  # until the reader of stderr has gone
    for _ in range(1000):
        log.info("said to nobody")
print("worked")
"""


def test_a_reader_that_has_gone_stops_nothing() -> None:
    """The pipe of stderr breaks: the program works to its end and exits with its own code."""
    with subprocess.Popen(
        [sys.executable, "-c", CLOSED],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr
        assert process.stdin
        assert process.stdout
        process.stderr.close()
        process.stdin.write(b"1")
        process.stdin.close()
        assert process.stdout.read() == b"worked\n"
        assert process.wait(30) == 0


def test_a_stderr_that_never_was_is_not_taken_from_another_file(tmp_path: Path) -> None:
    """Started without a stderr, its number belongs to the next file that is opened: no line may land in there."""
    program = f"""
import os
precious = open({str(tmp_path / "precious")!r}, "w")
assert precious.fileno() == 2
from reconciler.cli.log import open_log
with open_log("console", None, 10_000) as log:
    log.info("a line")
precious.write("kept")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.close(2),
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "precious").read_text() == "kept"


def test_threads_do_not_tear_lines(tmp_path: Path) -> None:
    """The watcher and the notifications tell from threads of their own: every line stays whole."""
    file = tmp_path / "log"

    def tell(log: LogReporter, number: int) -> None:
        for _ in range(200):
            log.say(f"{number}" * 200)

    with open_log("console", file, LARGE) as log:
        threads = [threading.Thread(target=tell, args=(log, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = file.read_text().splitlines()
    assert len(lines) == 800
    assert all(re.fullmatch(r"\S+ \S+ warning: (\d)\1{199}", line) for line in lines)
