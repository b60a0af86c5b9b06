"""The client against servers that refuse, lose, cut, delay and garble."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
import traceback
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import httpx
import pytest

from reconciler.core.errors import SettingsError
from reconciler.core.states import Reply, TaskState
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import (
    AccountTrouble,
    IdInUse,
    Misdirected,
    NoSuchRoute,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RequestRefused,
    SlotsExhausted,
    SlowDown,
    TryLater,
    Unreadable,
)
from reconciler.kling.network import MAX_BODY

from .server import Answer, Asked, Server, always, enveloped, http, in_turn, serving

SECRET = "a-secret-that-nobody-may-ever-see"
PAIR = Credentials(access_key="access-key", secret_key=SECRET)
BODY = {
    "mode": "std",
    "external_task_id": "mine",
    "element_list": [{"element_id": 829836802793406551}],
}
TASK = {
    "task_id": "867283741759111202",
    "task_status": "submitted",
    "task_info": {"external_task_id": "mine"},
}
ACCEPTED = enveloped(200, 0, TASK)
HTML = b"<html><body>it broke</body></html>"

Ask = Callable[[KlingClient], Awaitable[object]]


async def create(client: KlingClient) -> Reply:
    return await client.create(BODY)


async def query(client: KlingClient) -> Reply:
    return await client.query("mine")


def ask(answer: Answer, question: Ask, *, timeout: float = 5.0) -> tuple[object, Server]:
    """Return what the question came to, a value or a provider's error, and the server that was asked."""

    async def run() -> tuple[object, Server]:
        async with serving(answer) as server:
            client = KlingClient(base_url=server.url, credentials=PAIR, timeout=timeout)
            try:
                return await question(client), server
            except ProviderError as error:
                return error, server
            finally:
                await client.aclose()

    return asyncio.run(run())


def test_a_task_is_created_as_documented() -> None:
    """One POST with the body as given, ids unrounded, and the accepted task comes back."""
    reply, server = ask(always(ACCEPTED), create)
    assert isinstance(reply, Reply)
    assert reply.task
    assert (reply.task.task_id, reply.task.state, reply.request_id) == (
        TASK["task_id"],
        TaskState.SUBMITTED,
        "req-1",
    )
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/v1/videos/motion-control")
    assert asked.headers["content-type"] == "application/json; charset=utf-8"
    assert asked.headers["user-agent"].startswith("kling-reconciler/")
    assert json.loads(asked.body) == BODY


REFUSALS = [
    (enveloped(429, 1303), SlotsExhausted, "429: no slot"),
    (enveloped(429, 1302), SlowDown, "429: too fast"),
    (enveloped(429, 1102), AccountTrouble, "429: the pack is used up"),
    (enveloped(429, 1304), AccountTrouble, "429: not on the white list"),
    (http(429, HTML), OutcomeUnknown, "429: of somebody in front, who may have passed it on"),
    (enveloped(400, 1201), RequestRefused, "a wrong field"),
    (enveloped(200, 1301), RequestRefused, "a refusal with HTTP 200"),
    (enveloped(500, 5000), OutcomeUnknown, "a readable internal error"),
    (http(502, HTML), OutcomeUnknown, "a proxy's 502"),
    (http(404, HTML), Misdirected, "a web server's 404"),
    (http(405), Misdirected, "a web server's 405"),
    (http(404, b'{"detail":"Not Found"}'), Misdirected, "another program's 404"),
    (enveloped(404, 404), Misdirected, "another program's 404, with a code"),
    (http(200, HTML), Misdirected, "a page with HTTP 200"),
    (http(403, HTML), OutcomeUnknown, "a firewall's page"),
    (enveloped(404, 1202), NoSuchRoute, "no such method, in the API's own words"),
    (http(307, b"", location="http://127.0.0.1:1/"), OutcomeUnknown, "a redirect"),
    (enveloped(408, 1201), OutcomeUnknown, "408"),
    (enveloped(200, 0, None), OutcomeUnknown, "accepted, but nothing named"),
    (enveloped(200, 0, {"task_id": ""}), OutcomeUnknown, "accepted, but an empty id"),
    (ACCEPTED[:-20], OutcomeUnknown, "half a body"),
    (ACCEPTED[:30], OutcomeUnknown, "half a head"),
    (b"", OutcomeUnknown, "cut after the request was read"),
    (b"nonsense\r\n\r\n", OutcomeUnknown, "not HTTP"),
    (http(200, b"x" * (MAX_BODY + 1)), OutcomeUnknown, "an answer without measure"),
    (http(200, b"x", content_encoding="gzip"), OutcomeUnknown, "a broken encoding"),
]


@pytest.mark.parametrize(("answer", "kind", "reason"), REFUSALS)
def test_a_create_is_refused_only_by_the_providers_own_word(
    answer: bytes, kind: type[ProviderError], reason: str
) -> None:
    """Whatever else happens after a create was sent, its outcome is unknown, and it is not sent twice."""
    error, server = ask(in_turn(answer), create)
    assert type(error) is kind, reason
    assert len(server.asked) == 1, reason


def test_a_task_that_was_accepted_under_another_name_is_ours() -> None:
    """The longest external id is unknown (U): doubting an accepted task would mean to buy it again."""
    ours, kept = "mc1-qxb3rggtdhpty43aoj27wuanuz", "MC1-qxb3rggtdhpty43aoj27"
    renamed = enveloped(200, 0, {"task_id": "1", "task_info": {"external_task_id": kept}})
    reply, _ = ask(
        in_turn(renamed), lambda client: client.create({**BODY, "external_task_id": ours})
    )
    assert isinstance(reply, Reply)
    assert reply.task is not None
    assert reply.task.task_id == "1"


READS = [
    (http(502, HTML), TryLater, "a proxy's 502"),
    (enveloped(503, 5001), TryLater, "maintenance"),
    (http(404, HTML), Unreadable, "a page is not an unknown id"),
    (http(200, HTML), Unreadable, "a page with HTTP 200"),
    (http(302, b"", location="/elsewhere"), Unreadable, "a redirect"),
    (http(429, HTML), SlowDown, "a bare 429 decides nothing"),
    (enveloped(404, 1202), NoSuchRoute, "no such method is not an unknown id"),
    (enveloped(401, 1000), AccountTrouble, "a bad key"),
    (enveloped(500, 1203), TryLater, "a 5xx proves no absence"),
    (
        enveloped(200, 0, {"task_id": "9", "task_info": {"external_task_id": "x"}}),
        Unreadable,
        "another task",
    ),
    (ACCEPTED[:-20], TryLater, "half a body"),
    (b"", TryLater, "no answer"),
]


@pytest.mark.parametrize(("answer", "kind", "reason"), READS)
def test_a_query_that_says_nothing_proves_nothing(
    answer: bytes, kind: type[ProviderError], reason: str
) -> None:
    """Only the provider's readable word makes a task unknown; everything else is another kind of error."""
    error, _ = ask(in_turn(answer), query)
    assert type(error) is kind, reason


UNKNOWN = [
    (enveloped(404, 1203), "1203"),
    (enveloped(400, 1201, message="Task not found by id/external id: mine"), "1201, as observed"),
    (enveloped(400, 1201, message="task_id value 'mine' is invalid"), "1201 about the id"),
    (enveloped(200, 1203), "1203 with HTTP 200"),
    (enveloped(200, 0, None), "null"),
    (enveloped(200, 0, []), "an empty list"),
    (enveloped(200, 0, {}), "an empty object"),
]


@pytest.mark.parametrize(("answer", "reason"), UNKNOWN)
def test_a_readable_unknown_is_an_answer(answer: bytes, reason: str) -> None:
    """Each way in which the provider may say that it knows no such id is a reply without a task."""
    reply, _ = ask(always(answer), query)
    assert reply == Reply(None, "req-1"), reason


@pytest.mark.parametrize(
    "said",
    [
        "pageSize invalid",
        "Task query failed due to an unknown error",
        "The task type is invalid",
        "Invalid task parameter",
        "Task mine: query failed, try again later",
        "Query of mine failed: internal error",
    ],
)
def test_a_refused_question_is_no_unknown(said: str) -> None:
    """A 1201 that is not about whether anybody used the id licenses no create."""
    error, _ = ask(always(enveloped(400, 1201, message=said)), query)
    assert type(error) is RequestRefused


@pytest.mark.parametrize(
    "said",
    [
        "Task not found",
        "external_task_id not found",
        "Task id does not exist",
        "No such task",
        "unknown task_id",
        "Invalid external task id",
        "The task id is invalid.",
        "Error: task not found",
    ],
)
def test_a_1201_about_the_id_is_a_readable_unknown(said: str) -> None:
    """However it is put: nobody used the id."""
    reply, _ = ask(always(enveloped(400, 1201, message=said)), query)
    assert reply == Reply(None, "req-1")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("External_task_id mine already exists", IdInUse),
        ("external_task_id is duplicated", IdInUse),
        ("External task id must be unique", IdInUse),
        ("The external_task_id is in use", IdInUse),
        ("external_task_id has been used", IdInUse),
        ("external_task_id mine is used by another task", IdInUse),
        ("external_task_id conflicts with an existing task", IdInUse),
        ("external_task_id cannot be used with this model", RequestRefused),
        ("Characters used in external_task_id are not allowed", RequestRefused),
        ("The callback of external_task_id mine doesn't exist", RequestRefused),
        ("The image already exists in another format", RequestRefused),
    ],
)
def test_what_a_refused_create_says_of_its_id_is_read(said: str, kind: type[ProviderError]) -> None:
    """Only that the id is in use means that a task exists; any other refusal stays one."""
    error, _ = ask(always(enveloped(400, 1201, message=said)), create)
    assert type(error) is kind


def test_a_create_that_is_answered_about_another_task_is_in_doubt() -> None:
    """A proxy repeated the answer to somebody else's create: whether ours was accepted is not known."""
    other = {"task_id": "9", "task_info": {"external_task_id": "somebody-elses"}}
    error, _ = ask(always(enveloped(200, 0, other)), create)
    assert type(error) is OutcomeUnknown


def test_a_compressed_answer_is_read() -> None:
    """A page of tasks may come compressed."""
    packed = gzip.compress(json.dumps({"code": 0, "data": [TASK]}).encode())
    tasks, server = ask(
        always(http(200, packed, content_encoding="gzip")), lambda client: client.page(2, 500)
    )
    assert isinstance(tasks, tuple)
    assert [task.external_task_id for task in tasks] == ["mine"]
    assert server.asked[0].target == "/v1/videos/motion-control?pageNum=2&pageSize=500"


def test_the_balance_has_two_verdicts() -> None:
    """The balance's own code counts as the envelope's does."""
    data: dict[str, object] = {
        "code": 0,
        "msg": "ok",
        "resource_pack_subscribe_infos": [{"remaining_quantity": 7}],
    }
    packs, server = ask(
        always(enveloped(200, 0, data)),
        lambda client: client.costs(start_ms=1, end_ms=2),
    )
    assert isinstance(packs, tuple)
    assert packs[0].remaining == 7
    assert server.asked[0].target == "/account/costs?start_time=1&end_time=2"
    error, _ = ask(
        always(enveloped(200, 0, {"code": 1102, "msg": "gone"})),
        lambda client: client.costs(start_ms=1, end_ms=2),
    )
    assert isinstance(error, AccountTrouble)
    assert "gone" in error.message


PATHS = [
    ("mc1-a_b.c", "mc1-a_b.c", "an ordinary id"),
    ("a/../b?c#d%41", "a%2F..%2Fb%3Fc%23d%2541", "nothing of an id is the path's"),
    ("..", "%2E%2E", "an id of dots does not climb"),
    ("é", "%C3%A9", "UTF-8"),
]


@pytest.mark.parametrize(("name", "segment", "reason"), PATHS)
def test_an_id_is_one_segment_of_the_path(name: str, segment: str, reason: str) -> None:
    """Whatever an id holds, it is asked for by its own path."""
    _, server = ask(always(enveloped(404, 1203)), lambda client: client.query(name))
    assert server.asked[0].target == "/v1/videos/motion-control/" + segment, reason


def test_an_empty_id_is_not_asked() -> None:
    """An empty id would read the list and take a stranger's task for ours."""
    error, server = ask(
        always(enveloped(200, 0, [{"task_id": "9"}])), lambda client: client.query("")
    )
    assert isinstance(error, RequestRefused)
    assert not server.asked


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("question", [create, query])
def test_nothing_is_sent_when_nobody_listens(scheme: str, question: Ask) -> None:
    """A refused connection is the one failure that surely bought nothing."""

    async def run() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            url = f"{scheme}://127.0.0.1:{held.getsockname()[1]}"
            client = KlingClient(base_url=url, credentials=PAIR, timeout=5)
            with pytest.raises(NotSent):
                await question(client)
            await client.aclose()

    asyncio.run(run())


def test_nothing_is_sent_when_tls_fails() -> None:
    """A handshake that fails comes before the request."""

    async def run() -> None:
        async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 no TLS here\r\n\r\n")
            writer.close()

        listener = await asyncio.start_server(slam, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        client = KlingClient(base_url=url, credentials=PAIR, timeout=5)
        with pytest.raises(NotSent):
            await client.create(BODY)
        await client.aclose()
        listener.close()

    asyncio.run(run())


@pytest.mark.parametrize(("question", "kind"), [(create, OutcomeUnknown), (query, TryLater)])
@pytest.mark.parametrize("drip", [b"", b"x"])
def test_a_request_ends_in_time(question: Ask, kind: type[ProviderError], drip: bytes) -> None:
    """Neither silence nor an answer that never ends holds a request beyond its time-out."""

    async def never(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, content_length="100000"))
        while True:
            writer.write(drip)
            await writer.drain()
            await asyncio.sleep(0.02)

    began = time.monotonic()
    error, _ = ask(never, question, timeout=0.3)
    assert type(error) is kind
    assert time.monotonic() - began < 2


def test_an_idle_connection_that_dies_under_a_create_leaves_it_unknown() -> None:
    """A reused connection may have carried the create to a server that then closed it."""

    async def both(client: KlingClient) -> Reply:
        assert (await client.query("mine")).task
        return await client.create(BODY)

    error, server = ask(in_turn(ACCEPTED, b""), both)
    assert type(error) is OutcomeUnknown
    assert (server.connections, len(server.asked)) == (1, 2)


def test_an_idle_connection_that_was_closed_is_not_used_again() -> None:
    """A connection that the server closed while it was idle is noticed and replaced: the create goes through."""
    answers = [ACCEPTED, ACCEPTED]

    async def once(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop())
        writer.close()

    async def both(client: KlingClient) -> Reply:
        await client.query("mine")
        await asyncio.sleep(0.05)
        return await client.create(BODY)

    reply, server = ask(once, both)
    assert isinstance(reply, Reply)
    assert server.connections == 2


@pytest.mark.parametrize("question", [create, query])
@pytest.mark.parametrize("status", [401, 200])
def test_a_wrong_clock_is_corrected_and_the_request_sent_once_more(
    question: Ask, status: int
) -> None:
    """1004 tells the server's time: the second request is signed by it, and works."""
    ahead = 4000.0
    late = formatdate(time.time() + ahead, usegmt=True)
    refused = enveloped(status, 1004).replace(b"\r\n", f"\r\ndate: {late}\r\n".encode(), 1)

    async def skewed(client: KlingClient) -> float:
        await question(client)
        return client.clock_skew

    skew, server = ask(in_turn(refused, ACCEPTED), skewed)
    assert isinstance(skew, float)
    assert abs(skew - ahead) < 3
    first, second = (asked.headers["authorization"] for asked in server.asked)
    assert first != second


def test_a_clock_that_stays_wrong_is_the_accounts_trouble() -> None:
    """A token that is refused again after it was signed again is not sent a third time."""
    error, server = ask(always(enveloped(401, 1003)), create)
    assert isinstance(error, AccountTrouble)
    assert error.code == 1003
    assert len(server.asked) == 2


def test_a_refused_key_is_not_tried_again() -> None:
    """1002 is not about dates; nor is a token refused for its dates with a 5xx surely refused before it acted."""
    _, server = ask(always(enveloped(401, 1002)), create)
    assert len(server.asked) == 1
    error, server = ask(always(enveloped(500, 1004)), create)
    assert isinstance(error, OutcomeUnknown)
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed() -> None:
    """The API's redirects lead nowhere: the token stays, and a create is not repeated elsewhere."""

    async def run() -> None:
        async with serving(always(ACCEPTED)) as stranger:
            error, _ = await asyncio.to_thread(
                ask, always(http(307, location=stranger.url + "/x")), create
            )
            assert isinstance(error, OutcomeUnknown)
            assert not stranger.asked

    asyncio.run(run())


def test_an_echoed_token_does_not_get_into_the_error() -> None:
    """A message that quotes the token, and the traceback around it, show neither it nor the secret."""

    async def echo(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(enveloped(400, 1201, message=f"bad {asked.headers['authorization']} {SECRET}"))

    error, server = ask(echo, create)
    assert isinstance(error, RequestRefused)
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert SECRET not in shown
    assert server.asked[0].headers["authorization"].removeprefix("Bearer ") not in shown
    assert "bad Bearer ***" in error.message


class Failing(httpx.AsyncBaseTransport):
    """Breaks while it writes the headers, which its frame holds."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.written = [(name, value) for name, value in request.headers.raw]
        written = self.written
        raise httpx.WriteTimeout(f"{len(written)} headers")


def test_no_traceback_shows_the_key_even_with_its_variables() -> None:
    """Tools that print the variables of every frame find neither the token nor the secret in them."""

    async def run() -> None:
        transport = Failing()
        client = KlingClient(base_url="https://api.invalid", credentials=PAIR, transport=transport)
        with pytest.raises(OutcomeUnknown) as caught:
            await client.create(BODY)
        error = caught.value
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
        token = dict(transport.written)[b"Authorization"].decode().removeprefix("Bearer ")
        assert "self = <reconciler.kling.client" in shown
        assert SECRET not in shown
        assert token not in shown

    asyncio.run(run())


def test_cancellation_is_not_an_answer() -> None:
    """A request that is cancelled stays cancelled, and its connection does no harm to the next."""

    async def run() -> None:
        async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if asked.method == "POST":
                await asyncio.sleep(5)
            writer.write(ACCEPTED)

        async with serving(slow) as server:
            client = KlingClient(base_url=server.url, credentials=PAIR, connections=1)
            pending = asyncio.create_task(client.create(BODY))
            await asyncio.sleep(0.1)
            pending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pending
            assert (await client.query("mine")).task
            await client.aclose()

    asyncio.run(run())


def test_requests_wait_their_turn() -> None:
    """No more requests are under way than there are connections, and all of them are answered."""
    running, most = 0, 0

    async def count(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        writer.write(ACCEPTED)

    async def run() -> None:
        async with serving(count) as server:
            client = KlingClient(base_url=server.url, credentials=PAIR, connections=3)
            replies = await asyncio.gather(*(client.query("mine") for _ in range(30)))
            assert all(reply.task for reply in replies)
            await client.aclose()

    asyncio.run(run())
    assert most == 3


def test_an_upload_has_time_for_its_size() -> None:
    """A large create on a slow line is given more than the time-out: it must not be lost for ever."""

    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        writer.write(ACCEPTED)

    reply, _ = ask(
        slow, lambda client: client.create({**BODY, "image_url": "A" * 256 * 1024}), timeout=0.3
    )
    assert isinstance(reply, Reply)


def test_the_environments_proxy_does_not_see_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http to loopback goes there directly: a proxy would read the key."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    reply, _ = ask(always(ACCEPTED), create)
    assert isinstance(reply, Reply)


BASES = [
    ("http://api.example.com", "the key would go unprotected"),
    ("http://127.0.0.1.example.com", "looks like loopback"),
    ("http://0.0.0.0:80", "every interface is not loopback"),
    ("http://2130706433", "loopback in disguise is not asked for"),
    ("ftp://localhost", "not http"),
    ("https://", "no host"),
    ("https://u:p@api.example.com", "a password in the URL"),
    ("https://api.example.com?x=1", "a query"),
    ("https://[", "not a URL"),
    ("", "nothing"),
]


@pytest.mark.parametrize(("url", "reason"), BASES)
def test_an_unsafe_base_is_refused(url: str, reason: str) -> None:
    """The key goes over https, or to this machine; another base is an error of the settings."""
    with pytest.raises(SettingsError):
        KlingClient(base_url=url, credentials=PAIR)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api-singapore.klingai.com", "https://api-singapore.klingai.com"),
        ("http://localhost:9000/", "http://localhost:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://gate.example.com/kling/", "https://gate.example.com/kling"),
        ("https://api.example.com/v1", "https://api.example.com"),
        ("https://gate.example.com/kling//v1/", "https://gate.example.com/kling"),
        ("https://api.example.com/v1/videos/motion-control", "https://api.example.com"),
        ("https://v1", "https://v1"),
        ("https://api.example.com/xv1", "https://api.example.com/xv1"),
    ],
)
def test_a_base_is_kept_without_its_slash(url: str, base: str) -> None:
    """A base may be https anywhere or plain http on loopback, with a path in front of the API's own; not what the API's paths begin with."""
    assert KlingClient(base_url=url, credentials=PAIR).base_url == base
