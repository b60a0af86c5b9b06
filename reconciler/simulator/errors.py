"""The provider's table of error codes and the one exception that carries a code to the envelope."""

from __future__ import annotations

from types import MappingProxyType

TABLE = MappingProxyType(
    {
        0: (200, "SUCCEED"),
        1000: (401, "authentication failed"),
        1001: (401, "Authorization is empty"),
        1002: (401, "authorization is invalid"),
        1003: (401, "authorization is not valid yet"),
        1004: (401, "authorization has expired"),
        1100: (429, "account exception"),
        1101: (429, "account in arrears"),
        1102: (429, "Account balance not enough"),
        1103: (403, "no right to this API or model"),
        1200: (400, "invalid request parameters"),
        1201: (400, "invalid parameter"),
        1202: (404, "no such method"),
        1203: (404, "no such resource"),
        1300: (400, "platform policy violated"),
        1301: (400, "content policy violated"),
        1302: (429, "too many requests"),
        1303: (429, "parallel task over resource pack limit"),
        1304: (429, "IP not on the white list"),
        5000: (500, "internal error"),
        5001: (503, "temporarily unavailable"),
        5002: (504, "internal time-out"),
    }
)
"""Code to HTTP status and default message. Statuses and codes are documented, the wordings of 1001, 1102 and 1303 observed; the others are ours."""


class ApiError(Exception):
    """A request that the provider answers with an error code."""

    def __init__(self, code: int, message: str = "") -> None:
        """`code` is one of `TABLE`; `message` replaces its default wording."""
        self.code = code
        self.status, default = TABLE[code]
        self.message = message or default
        super().__init__(f"{code}: {self.message}")


def status_of(code: int) -> int:
    """Return the documented HTTP status of a code, 400 for a code in no table."""
    return TABLE.get(code, (400, ""))[0]


def message_of(code: int) -> str:
    """Return the default wording for a code."""
    return TABLE.get(code, (400, "error"))[1]
