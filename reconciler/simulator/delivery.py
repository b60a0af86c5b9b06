"""How an effect changes an answer on its way out: pure functions from an answer to what is sent and how it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.simulator.errors import message_of, status_of
from reconciler.simulator.faults import Effect, Scalar

Headers = tuple[tuple[bytes, bytes], ...]

CODE_OF_STATUS = {500: 5000, 503: 5001, 504: 5002, 401: 1000, 403: 1103, 404: 1203, 429: 1302}
PROXY_PAGE = (
    "<html>\r\n<head><title>{0} {1}</title></head>\r\n<body>\r\n<center><h1>{0} {1}</h1></center>\r\n"
    "<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"
)
REASONS = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}
STORAGE_PAGE = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code></Error>\n'
GARBAGE = b'{"code":0,"message":"SUCC\x00\xff\xfe'


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Delivery:
    """An answer, how many bytes of its body go out, and what happens to the connection then."""

    answer: Answer
    sent: int
    ending: Literal["complete", "close", "silence"]
    rate: int = 0
    """Bytes of the body per real second; 0 for all at once."""


def envelope(request_id: str, code: int, message: str, data: object = None) -> dict[str, object]:
    """Return the documented envelope; `data` is left out of an error."""
    base: dict[str, object] = {"code": code, "message": message, "request_id": request_id}
    return base | {"data": data} if code == 0 else base


def invented(effect: Effect, *, endpoint: str, address: str, request_id: str) -> Answer:
    """Return the answer that replaces the real one; `address` is where a redirect leads by default."""
    if effect.action == "redirect":
        where = effect.value if isinstance(effect.value, str) else address
        return Answer(302, ((b"location", where.encode()), (b"content-length", b"0")), b"")
    if effect.action == "garbage":
        return _answer(200, "application/json", GARBAGE)
    value = int(effect.value)
    if effect.action == "status":
        return _of_status(value, effect, endpoint, request_id)
    status = 200 if effect.action == "error_in_200" else status_of(value)
    return _error(status, value, effect.message, request_id)


def disturbed(effect: Effect, answer: Answer) -> Delivery:
    """Return how an answer leaves under an effect; one that does not touch answers lets it pass."""
    whole = len(answer.body)
    value = _bytes(effect.value, whole)
    match effect.action:
        case "cut":
            return Delivery(answer, min(value, whole), "close")
        case "stall":
            return Delivery(answer, min(value, whole), "silence")
        case "drip":
            return Delivery(answer, whole, "complete", rate=value)
        case "wrong_length":
            return Delivery(_announcing(answer, whole + value), whole, "close")
        case "truncate":
            short = replace(answer, body=answer.body[:value])
            return Delivery(_announcing(short, len(short.body)), len(short.body), "complete")
        case "wrong_bytes":
            return Delivery(replace(answer, body=_flipped(answer.body)), whole, "complete")
        case _:
            return Delivery(answer, whole, "complete")


def _bytes(value: Scalar, whole: int) -> int:
    """Return a number of bytes that is given as such or as a share of the whole."""
    if isinstance(value, float):
        return int(value * whole)
    return value if isinstance(value, int) else 0


def _of_status(status: int, effect: Effect, endpoint: str, request_id: str) -> Answer:
    if effect.body is not None:
        kind = "text/html" if effect.body.lstrip().startswith("<") else "application/json"
        return _answer(status, kind, effect.body.encode())
    if endpoint == "result":
        page = STORAGE_PAGE.format("AccessDenied" if status == 403 else "InternalError")
        return _answer(status, "application/xml", page.encode())
    code = effect.code or CODE_OF_STATUS.get(status, 0)
    if code:
        return _error(status, code, effect.message, request_id)
    page = PROXY_PAGE.format(status, REASONS.get(status, "Error"))
    return _answer(status, "text/html", page.encode())


def _error(status: int, code: int, message: str, request_id: str) -> Answer:
    body = json.dumps(envelope(request_id, code, message or message_of(code)))
    return _answer(status, "application/json", body.encode())


def _answer(status: int, kind: str, body: bytes) -> Answer:
    headers = ((b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()))
    return Answer(status, headers, body)


def _announcing(answer: Answer, length: int) -> Answer:
    kept = tuple(header for header in answer.headers if header[0] != b"content-length")
    return replace(answer, headers=(*kept, (b"content-length", str(length).encode())))


def _flipped(body: bytes) -> bytes:
    """Return the bytes with sixteen of them inverted, from the middle on."""
    middle = len(body) // 2
    return (
        body[:middle]
        + bytes(byte ^ 0xFF for byte in body[middle : middle + 16])
        + body[middle + 16 :]
    )
