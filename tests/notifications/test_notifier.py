"""Notifications: what arrives, what is gathered, and that nothing here ever holds up the work or tells a secret."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.errors import SettingsError
from reconciler.notifications.notifier import SHOWN, Bundle, Notice, Notifier
from tests.notifications.webhook import webhook
from tests.support.nursery import REPOSITORY
from tests.support.project import wait_until

SECRET = "a-token-that-nobody-may-ever-see"
ALL = frozenset(Notice)


def notifier(
    urls: Sequence[str], said: list[str], *, kinds: frozenset[Notice] = ALL, gather: float = 0.05
) -> Notifier:
    return Notifier(urls, kinds, trouble=said.append, gather=gather)


def test_a_sentence_arrives_as_it_was_told() -> None:
    """One thing told is one message with the sentence, its kind as title and tone."""
    said: list[str] = []
    with webhook() as hook:
        telling = notifier([hook.url(SECRET)], said)
        telling.tell(Notice.FAILED, "specs/dance.yaml failed: <policy> & :smile: *more*")
        wait_until(lambda: hook.came, "the message")
        telling.close(5)
    [message] = hook.came
    assert message["title"] == "reconciler: 1 generation needs attention"
    assert message["message"] == "specs/dance.yaml failed: <policy> & :smile: *more*"
    assert message["type"] == "failure"
    assert hook.paths == [f"/{SECRET}"]
    assert said == []


def test_a_thousand_at_once_are_one_message_for_each_kind() -> None:
    """What comes together goes out together: ten sentences, and the count of the rest."""
    said: list[str] = []
    with webhook() as hook:
        telling = notifier([hook.url()], said, gather=30)
        for number in range(1003):
            telling.tell(Notice.COMPLETE, f"specs/{number}.yaml is complete")
        telling.tell(Notice.CAP, "9 of 10 units of the day are spent")
        telling.close(10)  # and what is gathered goes out before the end, without waiting for more
        assert [message["title"] for message in hook.came] == [
            "reconciler: 1,003 results saved",
            "reconciler: a spending cap",
        ]
    lines = hook.came[0]["message"].splitlines()
    assert lines == [f"specs/{number}.yaml is complete" for number in range(10)] + ["and 993 more"]


@given(st.lists(st.text(max_size=700), min_size=1, max_size=30))
def test_a_sentence_is_one_line(sentences: list[str]) -> None:
    """Whatever the provider's words hold, a message has one line for each sentence and a bounded size."""
    bundle = Bundle(Notice.FAILED)
    for sentence in sentences:
        bundle.add(sentence)
    lines = bundle.body.split("\n")
    shown = min(len(sentences), SHOWN)
    assert len(lines) == shown + (len(sentences) > SHOWN)
    assert all(len(line) <= 501 and (line.isprintable() or not line) for line in lines)
    assert str(len(sentences)) in bundle.title


def test_only_what_was_asked_for_is_told() -> None:
    """A kind that is not in the list is dropped."""
    said: list[str] = []
    with webhook() as hook:
        telling = notifier([hook.url()], said, kinds=frozenset({Notice.ACCOUNT}))
        telling.tell(Notice.COMPLETE, "specs/dance.yaml is complete")
        telling.tell(Notice.ACCOUNT, "the account is out of units")
        telling.close(5)
    assert [message["message"] for message in hook.came] == ["the account is out of units"]


def test_a_dead_service_holds_nobody_up() -> None:
    """Telling takes no time and closing no longer than allowed, while a service accepts and never answers."""
    said: list[str] = []
    with webhook(dead=True) as hook:
        telling = notifier([hook.url(SECRET)], said)
        telling.tell(Notice.FAILED, "one")
        wait_until(lambda: hook.came, "the first request")
        began = time.monotonic()
        for number in range(10_000):
            telling.tell(Notice.COMPLETE, f"specs/{number}.yaml")
        assert time.monotonic() - began < 2
        began = time.monotonic()
        telling.close(0.3)
        assert time.monotonic() - began < 1
        assert said == ["the last notifications could not be sent in time"]


def test_a_service_that_fails_is_said_once_and_again_only_after_it_worked() -> None:
    """Three attempts for a message, one sentence for a row of failures; the sentence holds no secret."""
    said: list[str] = []
    with webhook() as good, webhook() as bad:
        bad.status = 500
        telling = notifier([bad.url(SECRET), good.url()], said)
        telling.tell(Notice.FAILED, "one")
        wait_until(lambda: said, "the trouble")
        assert [len(bad.came), len(good.came)] == [3, 1]
        telling.tell(Notice.FAILED, "two")
        wait_until(lambda: len(bad.came) == 6, "three attempts of the second message")
        bad.status = 200
        telling.tell(Notice.FAILED, "three")
        wait_until(lambda: len(bad.came) == 7, "the third message")
        bad.status = 500
        telling.tell(Notice.FAILED, "four")
        wait_until(lambda: len(good.came) == 4, "the fourth message")
        telling.close(5)
    assert len(said) == 2
    assert all("RECONCILER_NOTIFY_URLS: entry 1 (`json://…`)" in sentence for sentence in said)
    assert all(SECRET not in sentence and str(bad.port) not in sentence for sentence in said)


def test_a_redirect_is_a_failure() -> None:
    """A redirected message would arrive as an empty GET and count as taken, and go where nobody configured."""
    said: list[str] = []
    with webhook() as hook, webhook() as elsewhere:
        hook.status = 302
        hook.location = f"http://127.0.0.1:{elsewhere.port}/"
        telling = notifier([hook.url()], said)
        telling.tell(Notice.CAP, "one")
        telling.close(10)
        assert elsewhere.paths == []
    assert len(said) == 1


@pytest.mark.parametrize(
    ("url", "named", "reason"),
    [
        (f"jsonn://{SECRET}@127.0.0.1/x", "entry 2 (`jsonn://…`)", "no such service"),
        (f"slack://{SECRET}", "entry 2 (`slack://…`)", "incomplete"),
        (f"file:///{SECRET}.yaml", "entry 2 (`file://…`)", "a configuration file is not read"),
        (f"http://127.0.0.1:9/{SECRET}", "entry 2 (`http://…`)", "neither is one on a server"),
        (SECRET, "entry 2 is", "no URL at all"),
        (f"{SECRET * 3}://x", "entry 2 is", "what stands before :// is no scheme"),
        ("", "entry 2 is", "nothing"),
    ],
)
def test_a_wrong_url_is_found_at_once(
    url: str, named: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names the setting, the place and the scheme; the URL is in no sentence and no log."""
    with pytest.raises(SettingsError) as caught:
        notifier(["json://127.0.0.1:9/ok", url], [])
    assert "RECONCILER_NOTIFY_URLS" in caught.value.message, reason
    assert named in caught.value.message, reason
    assert SECRET not in caught.value.message + caught.value.hint
    out, err = capfd.readouterr()
    assert out + err == ""


@pytest.mark.parametrize("first", ["", "import logging; logging.basicConfig(level=1)"])
def test_nothing_is_printed_whatever_goes_wrong(first: str) -> None:
    """Nothing is printed when a service refuses or is not there, even where every log record is shown."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = nobody.getsockname()[1]
        with webhook() as hook:
            hook.status = 403
            urls = [hook.url(SECRET), f"json://{SECRET}@127.0.0.1:{port}/{SECRET}"]
            done = run_in_new_process(urls, first=first)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("does not take notifications") == 2
    assert SECRET not in done.stdout


def test_a_service_that_hangs_does_not_keep_the_process() -> None:
    """The process ends at once after `close`, though its thread still waits for an answer."""
    with webhook(dead=True) as hook:
        done = run_in_new_process(
            [hook.url()], timeout=0.1, then="import time; print(time.monotonic())"
        )
        ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    assert "could not be sent in time" in done.stdout
    assert ended - float(done.stdout.split()[-1]) < 3.5  # an answer would be waited for 4 s


def test_without_urls_nothing_is_imported() -> None:
    """The library costs time and memory only where somebody wants to be told."""
    done = run_in_new_process([], then="import sys; assert 'apprise' not in sys.modules")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def run_in_new_process(
    urls: list[str], *, timeout: float = 20, first: str = "", then: str = ""
) -> subprocess.CompletedProcess[str]:
    """Tell one thing to these URLs, in an interpreter of its own."""
    program = f"""
{first}
from reconciler.notifications.notifier import Notice
from reconciler.notifications.notifier import Notifier
n = Notifier({urls!r}, frozenset(Notice), trouble=lambda said: print(said, flush=True), gather=0.05)
n.tell(Notice.FAILED, "one")
n.close({timeout})
{then}
"""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
