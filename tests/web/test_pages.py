"""The status page: what a tired person sees first, and what nobody can make it do."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.errors import StateError
from reconciler.core.states import Status
from reconciler.web.pages import status_page
from tests.web.standing import HEALTHY, Standing, row, visiting


def page_of(source: Standing) -> str:
    return status_page(source.document(), source.health())


def test_what_needs_somebody_comes_first() -> None:
    """Needs you, under way, waiting, complete: in this order, with counts, and in the tab's title."""
    statuses = ["complete", "pending", "processing", "complete", "blocked", "failed"]
    page = page_of(Standing([row(number, status) for number, status in enumerate(statuses)]))
    headings = re.findall(r"<h2>(.*?) <span class=\"quiet\">(\d+)</span>", page)
    assert headings == [
        ("Needs you", "2"),
        ("Under way", "1"),
        ("Waiting", "1"),
        ("Complete, newest first", "2"),
    ]
    assert "<title>(2) reconciler</title>" in page
    assert re.search(r"<h1>\s*2 need you\s*</h1>", page)


@pytest.mark.parametrize("status", Status)
def test_every_status_has_its_place(status: Status) -> None:
    """No generation is left out, whatever its status, and its reason is beside it."""
    page = page_of(Standing([row(7, status, reason="because of seven", label="pro", units="2.5")]))
    for part in (f">{status}<", "specs/scene-7.yaml", "pro", "because of seven", "2.5 units"):
        assert part in page


@pytest.mark.parametrize(
    ("rows", "headline"),
    [
        ([], "No specs yet"),
        ([row(1, "complete")], "Everything is complete"),
        ([row(1, "complete"), row(2, "pending")], "Working"),
        ([row(1, "invalid", external_task_id=None, task_id=None)], "1 needs you"),
    ],
)
def test_the_headline_says_how_things_are(rows: list[dict[str, object]], headline: str) -> None:
    """One look is enough."""
    assert re.search(rf"<h1>\s*{headline}\s*</h1>", page_of(Standing(rows)))


@pytest.mark.parametrize(
    ("health", "said"),
    [
        ({"paused": "the account is out of units"}, "the account is out of units"),
        ({"provider": "silent since 14:00"}, "silent since 14:00"),
        ({"ok": False, "trouble": "the folder is gone"}, "the folder is gone"),
    ],
)
def test_trouble_of_all_is_said_on_top(health: dict[str, object], said: str) -> None:
    """A pause, a silent provider and ill health stand before the first section, and only when they are so."""
    rows = [row(1, "pending")]
    page = page_of(Standing(rows, {**HEALTHY, **health}))
    assert said in page.partition("<section")[0]
    assert said not in page_of(Standing(rows))


def test_the_newest_results_are_shown() -> None:
    """Of many results the page has those of the newest tasks, with the paths of their files."""
    rows = [
        row(number, "complete", outputs=[{"path": f"specs/scene-{number}.mp4"}])
        for number in (*range(500, 1000), *range(500))
    ]
    shown = re.findall(r"specs/scene-(\d+)\.mp4", page_of(Standing(rows)))
    assert shown == [str(number) for number in range(999, 949, -1)]


def test_ten_thousand_generations_are_a_page_that_can_be_read() -> None:
    """The page stays small and quick, and says how many more there are."""
    statuses = ["complete", "failed", "processing", "pending"]
    source = Standing([row(number, statuses[number % 4]) for number in range(10_000)])
    page_of(source)
    began = time.monotonic()
    page = page_of(source)
    assert time.monotonic() - began < 0.5
    assert len(page) < 200_000
    assert page.count("<li>") == 275
    for more in ("and 2,400 more", "and 2,475 more", "and 2,450 more"):
        assert more in page


@given(
    st.text(min_size=1), st.sampled_from(["spec", "label", "reason", "external_task_id", "units"])
)
def test_no_word_becomes_markup(text: str, name: str) -> None:
    """Names of files and the provider's words are text, whatever they hold."""
    payload = f"<script>alert(1)</script>\"'>{text}"
    page = page_of(Standing([row(1, "failed", **{name: payload})], {**HEALTHY, "paused": payload}))
    assert "<script>" not in page
    assert page.count("<script ") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&gt;" in page


def test_a_page_takes_nothing_from_elsewhere() -> None:
    """No answer lets a page of another origin read it, frame it, or be a reason to load anything from another host."""

    async def run() -> None:
        async with visiting(Standing([row(1, "failed")])) as client:
            for path in ("/", "/status.json", "/healthz", "/status.css", "/status.js", "/nothing"):
                answer = await client.get(path)
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy, path
                assert "unsafe" not in policy, path
                assert "frame-ancestors 'none'" in policy, path
                assert answer.headers["cache-control"] == "no-store", path
                assert answer.headers["x-content-type-options"] == "nosniff", path
                assert "access-control-allow-origin" not in answer.headers, path
                assert answer.status_code == (404 if path == "/nothing" else 200), path
            page = (await client.get("/")).text
            assert "http" not in re.sub(r"http-equiv", "", page)
            assert " style=" not in page  # the policy would drop it
            assert set(re.findall(r'(?:href|src)="([^"#]+)"', page)) == {
                "data:,",
                "/status.css",
                "/status.js",
            }

    asyncio.run(run())


def test_the_status_document_is_served_as_it_is() -> None:
    """`/status.json` is what `status --json` prints; the page's own file names stay as they were written."""
    source = Standing([row(1, "complete", spec="specs/跳舞.yaml")])

    async def run() -> None:
        async with visiting(source) as client:
            answer = await client.get("/status.json")
            assert answer.headers["content-type"].startswith("application/json")
            assert answer.json() == source.document()
            assert "跳舞" in answer.text

    asyncio.run(run())


def test_health_is_an_exit_code_for_machines() -> None:
    """200 while all is well, 503 otherwise, with the same facts."""
    source = Standing()

    async def run() -> None:
        async with visiting(source) as client:
            assert (await client.get("/healthz")).status_code == 200
            source.well["ok"] = False
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.json()) == (503, source.well)

    asyncio.run(run())


def test_nothing_can_be_changed_here() -> None:
    """A page in the user's browser can post to this port: every method but GET is refused on every page."""

    async def run() -> None:
        async with visiting(Standing()) as client:
            for path in ("/", "/status.json", "/healthz", "/status.css", "/status.js"):
                for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                    answer = await client.request(method, path)
                    assert answer.status_code == 405, (method, path)

    asyncio.run(run())


HOSTS = [
    ("localhost:8787", 200, "loopback"),
    ("LOCALHOST", 200, "names have no case"),
    ("127.0.0.1:1", 200, "loopback"),
    ("[::1]:8787", 200, "loopback"),
    ("studio.lan:8787", 200, "what it was bound to"),
    ("evil.example", 421, "a name that somebody points here"),
    ("localhost.evil.example", 421, "begins like ours"),
    ("localhost:8787.evil.example", 421, "looks like a port"),
    ("192.168.1.5", 421, "an address that it was not bound to"),
    ("", 421, "nothing"),
    ("localhost@evil.example", 421, "a user"),
]


@pytest.mark.parametrize(("host", "status", "reason"), HOSTS)
def test_only_the_hosts_that_are_meant_are_answered(host: str, status: int, reason: str) -> None:
    """DNS rebinding: another name in the Host header gets nothing, whatever the path."""

    async def run() -> None:
        source = Standing([row(1, "failed", spec="specs/private.yaml")])
        async with visiting(source, allowed_hosts=("Studio.lan",)) as client:
            for path in ("/", "/status.json", "/healthz", "/x/callbacks", "/callbacks/"):
                answer = await client.get(path, headers={"host": host})
                expected = 404 if status == 200 and "callbacks" in path else status
                assert answer.status_code == expected, (path, reason)
                assert ("private" in answer.text) == (expected == 200 and path != "/healthz")

    asyncio.run(run())


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", "[::]"])
def test_a_port_on_all_addresses_answers_to_all_addresses_and_no_name(everywhere: str) -> None:
    """Rebinding needs a name; an address in the Host header was typed by somebody."""

    async def run() -> None:
        async with visiting(Standing(), allowed_hosts=(everywhere,)) as client:
            for host in ("192.168.1.5:8787", "[fe80::1]:8787", "localhost"):
                assert (await client.get("/", headers={"host": host})).status_code == 200
            assert (await client.get("/", headers={"host": "evil.example"})).status_code == 421

    asyncio.run(run())


def test_many_visitors_cost_one_document_a_second() -> None:
    """Tabs, and a page elsewhere that loads this one in a loop, do not slow the work down."""
    source = Standing([row(1, "complete")])

    async def run() -> None:
        async with visiting(source) as client:
            began = time.monotonic()
            for _ in range(100):
                assert (await client.get("/status.json")).status_code == 200
            assert source.asked <= 1 + int(time.monotonic() - began) + 1

    asyncio.run(run())


def test_what_is_shown_is_not_older_than_a_second() -> None:
    """A change is seen by who asks after it."""
    source = Standing([row(1, "pending")])

    async def run() -> None:
        async with visiting(source) as client:
            assert (await client.get("/status.json")).json()["summary"] == {"pending": 1}
            source.rows = [row(1, "complete")]
            deadline = time.monotonic() + 5
            while (await client.get("/status.json")).json()["summary"] != {"complete": 1}:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    asyncio.run(run())


def test_a_state_that_cannot_be_read_is_a_sentence() -> None:
    """An error of ours is told on the page and in the document; any other is no traceback."""
    source = Standing(trouble=StateError("the database is <corrupt>", hint="See the manual."))

    async def run() -> None:
        async with visiting(source) as client:
            page = await client.get("/")
            assert page.status_code == 503
            assert "the database is &lt;corrupt&gt;. See the manual." in page.text
            document = await client.get("/status.json")
            assert document.status_code == 503
            assert json.loads(document.text)["error"]["message"] == "the database is <corrupt>"
            source.trouble = ZeroDivisionError("secret")
            for path in ("/", "/status.json"):
                answer = await client.get(path)
                assert answer.status_code == 500
                assert "Traceback" not in answer.text
                assert "secret" not in answer.text

    asyncio.run(run())
