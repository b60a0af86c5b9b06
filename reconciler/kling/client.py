"""The API's client: four requests, each answered by a value or by one error for each kind of reaction.

It repeats only a request that the server refused for its token's dates, decides nothing, and stores nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import httpx

from reconciler.core.errors import MISTAKES, SettingsError, mistake
from reconciler.core.hosts import is_loopback
from reconciler.core.identity import may_name
from reconciler.core.kinds import DEFAULT
from reconciler.core.states import Reply, Task
from reconciler.kling import errors, network, wire
from reconciler.kling.auth import Credentials, KlingAuth

COSTS: Final = "/account/costs"
SLOWEST_UPLINK: Final = 128 * 1024  # bytes/s: a create may hold 13 MB of Base64
_NO_TASK: Final = re.compile(
    r"(?<![a-z])(task|id)\b[^.,:;]*\b(not found|not exist)"
    r"|(?<![a-z])(task|id) (is |was )?(unknown|invalid)\b(?! \w)"
    r"|\b(no such|unknown) (external.)?(task.)?(task|id)\b(?! \w)|\binvalid (external.)?(task.)?id\b",
    re.IGNORECASE,
)
_NO_ANSWER: Final = re.compile(
    r"\b(fail(ed|ure)?|errors?|busy|later|again|time[d -]?out|unavailable|not ready)\b",
    re.IGNORECASE,
)
_TAKEN: Final = re.compile(
    r"(?<!not )(?<!n't )\b(already|exists?|duplicated?|repeated|unique|conflicts?"
    r"|(in|been|being) used?|used by)\b",
    re.IGNORECASE,
)
_EXTERNAL_ID: Final = re.compile(r"external.?(task.?)?id", re.IGNORECASE)
# the path of an endpoint at the end of a base, copied with it
_PASTED: Final = re.compile(r"(?<![:/])(/+v1(/videos(/motion-control)?)?)?/*$")
# httpx raises these only before the first byte of a request is written; any other failure may come after it
_NEVER_LEFT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An HTTP answer, and the reaction to it."""

    status: int
    envelope: wire.Envelope | None  # None: no readable one
    code: int | None  # of the envelope
    is_page: bool  # HTML or XML
    kind: type[errors.ProviderError] | None  # None: a success


class KlingClient:
    """Speaks to one account at one host.

    `base_url` is https, or plain http on loopback (else SettingsError); `timeout` bounds a whole request in
    seconds, waiting for a connection not counted, a second more for every `SLOWEST_UPLINK` bytes sent;
    `connections` bounds the requests under way; `now` returns seconds since the epoch.

    Proxies of the environment are used for https, where they see a tunnel, and never for loopback, where they
    would see the key.
    """

    def __init__(
        self,
        *,
        base_url: str,
        credentials: Credentials,
        timeout: float = 30.0,
        connections: int = 8,
        now: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        base = _api_base(base_url)
        self.base_url = str(base).rstrip("/")
        self._auth = KlingAuth(credentials, base=base, now=now)
        self._timeout = timeout
        # httpcore's pool is quadratic in waiting requests: they wait here instead.
        self._turns = asyncio.Semaphore(connections)
        limits = httpx.Limits(max_connections=connections, keepalive_expiry=5.0)
        if transport is None and not is_loopback(base.host):
            transport = network.EnvironmentTransport(limits)
        self._http = httpx.AsyncClient(
            headers={
                "User-Agent": network.user_agent(),
                "Accept": "application/json",
                "Accept-Encoding": network.ACCEPTED,
            },
            auth=self._auth,
            follow_redirects=False,
            trust_env=False,
            limits=limits,
            transport=transport,
        )

    @property
    def clock_skew(self) -> float:
        """Seconds by which the provider's clock is ahead of ours, as far as its answers showed."""
        return self._auth.skew

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def create(
        self, body: Mapping[str, object], *, endpoint: str = DEFAULT.ENDPOINT
    ) -> Reply:
        """Ask for a task of the kind that has this endpoint (a path); returns it as accepted.

        Raises NotSent when surely nothing reached the server, OutcomeUnknown whenever the task may exist, and
        the other kinds of ProviderError when the provider readably refused and created nothing.
        """
        request = self._http.build_request(
            "POST",
            self.base_url + endpoint,
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/json; charset=utf-8"},
        )
        ours = str(body.get("external_task_id", ""))
        envelope = await self._ask(request, ours)
        try:
            task = wire.parse_task(envelope.data)
        except errors.Unreadable as unnamed:
            said = "The provider accepted the task but did not name it."
            raise errors.OutcomeUnknown(said, request_id=envelope.request_id) from unnamed
        if not may_name(task.external_task_id, ours):
            # A proxy can repeat the answer to another create; whether ours was accepted is then not known.
            said = f"The answer to the create is about another task, `{task.external_task_id}`."
            raise errors.OutcomeUnknown(said, request_id=envelope.request_id)
        return Reply(task, envelope.request_id)

    async def query(
        self, task_or_external_id: str, *, ours: bool = False, endpoint: str = DEFAULT.ENDPOINT
    ) -> Reply:
        """Ask for one task by either of its ids; the reply's task is None when the provider says that it knows none.

        `ours` says that the id is one that we gave a task; see `wire.find_task`. Raises TryLater (or its kind
        Unreadable, also for an answer about another task) when the provider did not say.
        """
        if not task_or_external_id:
            raise errors.RequestRefused("An empty id names no task.")
        segment = quote(task_or_external_id, safe="", errors="replace")
        if not segment.strip("."):  # an id of dots would climb out of the path
            segment = segment.replace(".", "%2E")
        try:
            envelope = await self._get(f"{endpoint}/{segment}")
        except errors.RequestRefused as refused:
            if _is_unknown(refused, task_or_external_id):
                return Reply(None, refused.request_id)
            raise
        task = wire.find_task(envelope.data, task_or_external_id, ours=ours)
        return Reply(task, envelope.request_id)

    async def page(
        self, number: int, size: int, *, endpoint: str = DEFAULT.ENDPOINT
    ) -> tuple[Task, ...]:
        """Return a page of the account's tasks, `number` from 1 to 1000, `size` from 1 to 500 (D); no order (U)."""
        return wire.parse_tasks((await self._get(endpoint, pageNum=number, pageSize=size)).data)

    async def costs(self, *, start_ms: int, end_ms: int) -> tuple[wire.ResourcePack, ...]:
        """Return the account's packs; the provider allows one call a second (D), which the caller keeps to."""
        envelope = await self._get(COSTS, start_time=start_ms, end_time=end_ms)
        inner = wire.parse_verdict(envelope)
        if kind := errors.reaction(200, inner.code, create=False):
            raise _refusal(kind, 200, inner)
        return wire.parse_packs(envelope.data)

    async def _get(self, path: str, **params: str | int) -> wire.Envelope:
        url = self.base_url + path
        return await self._ask(self._http.build_request("GET", url, params=params or None))

    async def _ask(self, request: httpx.Request, ours: str = "") -> wire.Envelope:
        """Return the envelope of a success; raises the reaction to anything else. `ours`: the id that a create gives."""
        answer = await self._exchange(request)
        if (
            answer.kind is errors.AccountTrouble
            and answer.code in errors.CLOCK_CODES
            and self._auth.renew()
        ):
            # Safe for a create too: the server refused the token before it read the request.
            answer = await self._exchange(request)
        if answer.envelope is None:  # the answer is not the provider's
            what = "a web page" if answer.is_page else "nothing that can be read"
            why, hint = ".", ""
            if errors.is_strange(answer.status, None, is_page=answer.is_page):
                why, hint = ": it does not seem to be the API", errors.LOOK_AT_ADDRESS
            said = f"{self.base_url} gave HTTP {answer.status} and {what}{why}"
            raise (answer.kind or errors.Unreadable)(said, hint=hint, http_status=answer.status)
        if answer.kind is None:
            return answer.envelope
        refused = _refusal(answer.kind, answer.status, answer.envelope)
        if isinstance(refused, errors.RequestRefused) and _is_taken(refused.message, ours):
            refused = _refusal(errors.IdInUse, answer.status, answer.envelope)
        raise refused

    async def _exchange(self, request: httpx.Request) -> _Answer:
        seconds = self._timeout + len(request.content) / SLOWEST_UPLINK
        request.extensions["timeout"] = httpx.Timeout(seconds, connect=self._timeout / 3).as_dict()
        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    response = await self._http.send(request, stream=True)
                    try:
                        body = self._auth.redact(await network.read_bounded(response))
                    finally:
                        await response.aclose()
            except errors.ProviderError:
                raise
            except Exception as failure:  # of any kind: the server may have acted on a create
                if isinstance(failure, MISTAKES) and request.method != "POST":
                    raise  # the program's, and nothing was bought
                # Without its cause: a frame that was writing headers holds the token in its variables.
                raise _lost(failure, create=request.method == "POST") from None
        status, envelope = response.status_code, None
        with suppress(errors.Unreadable):
            envelope = wire.parse_envelope(body)
        code = envelope.code if envelope else None
        is_page = body[:512].lstrip()[:1] == b"<"
        kind = errors.reaction(status, code, create=request.method == "POST", is_page=is_page)
        return _Answer(status, envelope, code, is_page, kind)


def _api_base(text: str) -> httpx.URL:
    """Return the API's base without a final slash or a pasted endpoint; raises SettingsError for an unsafe one."""
    hint = "It is like https://api-singapore.klingai.com, the default."
    try:
        url = httpx.URL(_PASTED.sub("", text.strip()))
    except (httpx.InvalidURL, ValueError):
        raise SettingsError("KLING_BASE_URL is not a URL.", hint=hint) from None
    if not url.scheme or not url.host:
        raise SettingsError(f"KLING_BASE_URL is {text!r}, which is not a URL.", hint=hint)
    if url.userinfo or url.query or url.fragment:
        raise SettingsError("KLING_BASE_URL may hold a host, a port and a path, nothing else.")
    if not network.may_visit(url):
        said = f"KLING_BASE_URL is {text!r}, which would send the key unprotected."
        raise SettingsError(said, hint="Use https; plain http is for localhost only.")
    return url


def _lost(failure: Exception, *, create: bool) -> errors.ProviderError:
    """Return the reaction to a request without a whole answer, by whether the server can have acted on it."""
    if create and isinstance(failure, MISTAKES):
        return errors.SendingBroke(f"Whether the task was sent is not known: {mistake(failure)}")
    late = isinstance(failure, TimeoutError | httpx.TimeoutException)
    why = "time ran out" if late else str(failure) or type(failure).__name__
    if isinstance(failure, _NEVER_LEFT):
        return errors.NotSent(f"The API could not be reached: {why}")
    if create:
        return errors.OutcomeUnknown(f"The task was sent, but its answer was lost: {why}")
    return errors.TryLater(f"The API gave no whole answer: {why}")


def _is_unknown(refused: errors.RequestRefused, asked: str) -> bool:
    """Whether a refused query says that no task has the id: 1203 (D), or a 1201 that is about the id (O).

    Another 1201 ("pageSize invalid", "task query failed: unknown error") says nothing about the task.
    """
    names_it = asked in refused.message and not _NO_ANSWER.search(refused.message)
    about_it = names_it or _NO_TASK.search(refused.message)
    return refused.code == 1203 or (refused.code == 1201 and bool(about_it))


def _is_taken(said: str, external_task_id: str) -> bool:
    """Whether a refused create says that its id is in use: "External_task_id … already exists" (O, other kinds)."""
    rest = said.replace(external_task_id, "")
    about_it = external_task_id in said or _EXTERNAL_ID.search(rest)
    return bool(external_task_id and about_it and _TAKEN.search(rest))


def _refusal(
    kind: type[errors.ProviderError], status: int, envelope: wire.Envelope
) -> errors.ProviderError:
    return kind(
        f"The provider answered {envelope.code}: {envelope.message or 'no reason given'}",
        code=envelope.code,
        http_status=status,
        request_id=envelope.request_id,
    )
