"""The provider's answers as arbitrary bytes, headers and JSON: each is a value or one error, and never a second create."""

from __future__ import annotations

import asyncio
import gzip
import json
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example
from hypothesis import strategies as st

from reconciler.core.progress import Ended
from reconciler.core.states import Reply, Status
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import NotSent, ProviderError
from reconciler.kling.network import MAX_BODY
from tests.fuzz.commands import bounded
from tests.fuzz.damage import bytes_of, damaged
from tests.fuzz.profile import fuzz
from tests.simulation.loop import run, running
from tests.simulation.test_run import apply, project
from tests.simulation.wire import Wire
from tests.simulation.world import START, account

TASK: dict[str, Any] = {
    "task_id": "867283741759111202",
    "task_status": "succeed",
    "task_status_msg": "",
    "task_info": {"external_task_id": "mc1-a"},
    "task_result": {"videos": [{"id": "v", "url": "https://r.example/v.mp4", "duration": "5.041"}]},
    "final_unit_deduction": "4",
    "created_at": 1_800_000_000_000,
    "updated_at": 1_800_000_000_000,
}
WORDS = st.sampled_from(
    ["", "succeed", "failed", "../../x", "a/b", "\0", "\ud800", "\u202e", "9" * 5000, "1e9", "NaN", "-1", "http://[::1", "file:///etc/passwd",
     "https://u:p@h/x", "x" * 3000, "mc1-a", "867283741759111202"]
)  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**17, 10**40) | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from([*TASK, "id", "videos", "url", "resource_pack_subscribe_infos", "code", "msg"]), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
TASKS = st.dictionaries(st.sampled_from(sorted(TASK)), JSON, max_size=3).map(
    lambda odd: {**TASK, **odd}
)
CODES = st.sampled_from(
    [
        0,
        0,
        0,
        1000,
        1003,
        1004,
        1102,
        1200,
        1201,
        1203,
        1301,
        1302,
        1303,
        5000,
        9999,
        -1,
        "0",
        "1201",
        None,
        1.5,
        True,
    ]
)
ENVELOPES = st.fixed_dictionaries(
    {"code": CODES, "data": JSON | TASKS | st.lists(TASKS, max_size=3)},
    optional={"message": JSON, "request_id": JSON},
).map(lambda envelope: json.dumps(envelope).encode())
FOREIGN = bytes_of(
    b"\0",
    b"\xff",
    b"NaN",
    b"Infinity",
    b"9" * 5000,
    b"1e999999999999999999",
    b"[" * 100_000,
    b'{"a":' * 900,
    b"<html>",
    b'"',
)
BODIES = st.one_of(ENVELOPES, damaged(ENVELOPES, FOREIGN), st.binary(max_size=100), FOREIGN)
STATUSES = st.sampled_from(
    [
        200,
        200,
        200,
        201,
        204,
        206,
        301,
        302,
        304,
        307,
        400,
        401,
        403,
        404,
        408,
        409,
        413,
        418,
        429,
        500,
        502,
        503,
        504,
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "content-encoding", "content-length", "date", "location", "retry-after", "set-cookie", "transfer-encoding"]),
    st.sampled_from(["gzip", "deflate", "gzip, gzip, gzip", "br", "zstd", "identity", "0", "-5", "99999999999999999999", "nonsense", "",
                     "Wed, 25 Nov 2026 19:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359",
                     "https://elsewhere.example/", "file:///etc/passwd", "a=b; Path=/"]),
    max_size=3,
)  # fmt: skip
ANSWERS = st.tuples(STATUSES, HEADERS, BODIES)
Answer = tuple[int, dict[str, str], bytes]


def asked(
    answers: list[Answer], ask: Callable[[KlingClient], Coroutine[Any, Any, Any]]
) -> tuple[Any, list[httpx.Request]]:
    """Ask a provider that gives these answers in turn, the last one for ever; return what came of it, and the requests."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status, headers, body = answers[min(len(requests), len(answers) - 1)]
        requests.append(request)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))

    async def story() -> Any:
        client = KlingClient(
            base_url="https://api.example",
            credentials=Credentials(
                access_key="ak", secret_key="a-secret-that-is-long-enough-to-sign"
            ),
            timeout=5.0,
            transport=httpx.MockTransport(answer),
        )
        try:
            return await ask(client)
        except ProviderError as error:
            return error
        finally:
            await client.aclose()

    with bounded(10.0):
        return asyncio.run(story()), requests


@fuzz("answers", 150, answers=st.lists(ANSWERS, min_size=1, max_size=2))
def test_any_answer_to_a_create_is_a_task_or_one_error(answers: list[Answer]) -> None:
    """Whatever is answered: one request (two where only the token's dates were refused), and `not sent` is never said."""
    found, requests = asked(answers, lambda client: client.create({"external_task_id": "mc1-a"}))
    assert isinstance(found, Reply | ProviderError)
    assert not isinstance(found, NotSent)
    assert len(requests) <= 2
    if len(requests) == 2:
        assert any(code in answers[0][2] for code in (b"1003", b"1004"))
    if isinstance(found, Reply):
        assert found.task is not None
        assert found.task.task_id.encode().isascii() or found.task.task_id.encode()


@fuzz("answers", 150, answers=st.lists(ANSWERS, min_size=1, max_size=2))
@example(answers=[(200, {}, b'{"code": 0, "data": ' + b"[" * 100_000)])
def test_any_answer_to_a_question_is_a_value_or_one_error(answers: list[Answer]) -> None:
    """A query, a page and the balance: a value or a ProviderError, nothing else."""
    for ask in (
        lambda client: client.query("mc1-a"),
        lambda client: client.page(1, 500),
        lambda client: client.costs(start_ms=0, end_ms=1),
    ):
        asked(answers, ask)


def bomb(layers: int) -> tuple[bytes, str]:
    """Return a body that gzip unpacks to 100 MB at least, and its Content-Encoding."""
    packer = zlib.compressobj(9, wbits=31)
    data = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    for _ in range(layers - 1):
        data = gzip.compress(data, 9)
    return data, ", ".join(["gzip"] * layers)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_an_answer_that_unpacks_without_end_is_not_unpacked(layers: int) -> None:
    """A few kB that become 100 MB cost no more memory than the largest answer that is read."""
    body, encoding = bomb(layers)
    tracemalloc.start()
    try:
        found, _ = asked(
            [(200, {"content-encoding": encoding}, body)], lambda client: client.query("mc1-a")
        )
        assert isinstance(found, ProviderError)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAX_BODY
    finally:
        tracemalloc.stop()


class Garbled(Wire):
    """A wire on which some answers of the API are lost, and others come in their place."""

    def __init__(self, instead: list[Answer | None]) -> None:
        super().__init__(seed="1")
        self.instead = instead
        self.count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if not request.url.path.startswith("/v1/"):
            return response
        self.count += 1
        other = self.instead[self.count - 1] if self.count <= len(self.instead) else None
        if other is None:
            return response
        await response.aread()
        await response.aclose()
        status, headers, body = other
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


def _not_misleading(answer: Answer) -> Answer | None:
    """Return an answer, unless it readably says that there is no task, or names one: such a lie cannot be seen through."""
    found, _ = asked([answer], lambda client: client.query("mc1-a"))
    names_one = b"task_id" in answer[2] or b'"id"' in answer[2]
    return None if isinstance(found, Reply) or names_one else answer


@fuzz("wire", 12, instead=st.lists(st.none() | ANSWERS, min_size=3, max_size=25))
def test_garbled_answers_buy_nothing_twice(instead: list[Answer | None]) -> None:
    """Answers replaced by anything that does not readably say `unknown`: everything is billed once at the most."""

    others = [answer and _not_misleading(answer) for answer in instead]

    async def story(folder: Path) -> tuple[dict[str, int], set[Status], Ended]:
        wire = Garbled(others)
        repository = project(folder / "project", 3)
        try:
            async with account(
                folder / "account", wire, seed="1", duplicate_ids="bill_again"
            ) as provider:
                ended = Ended.TIMED_OUT
                for _ in range(3):
                    ended = await apply(folder / "project", wire, repository)
                assert wire.crashes == []
                billed: Any = provider.ledger.report()["billed"]
                assert running().time() > 0
                return billed, {record.status for record in repository.records().values()}, ended
        finally:
            repository.close()

    with tempfile.TemporaryDirectory(prefix="fuzz-wire-") as folder, bounded(60.0):
        billed, statuses, _ = run(story(Path(folder)), start=START)
    assert set(billed.values()) <= {1}, billed
    assert statuses <= {Status.COMPLETE, Status.REJECTED, Status.PENDING, Status.FAILED}, statuses
