"""One class for each kind of reaction to a request, and the map from the provider's answers to them."""

from __future__ import annotations

from typing import ClassVar, Final

from reconciler.core.errors import ReconcilerError

LOOK_AT_ADDRESS: Final = (
    "Check KLING_BASE_URL: it is the API's own address, like https://api-singapore.klingai.com."
)


class ProviderError(ReconcilerError):
    """The provider did not do what it was asked."""

    advice: ClassVar[str] = ""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str = "",
        code: int | None = None,
        http_status: int | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message, hint=hint or _REMEDIES.get(code or 0, "") or self.advice)
        self.code = code
        self.http_status = http_status
        self.request_id = request_id


class RequestRefused(ProviderError):
    """The provider refuses this request; nothing was created."""

    advice = "Change the spec: the provider's sentence says what it objects to."

    @property
    def policy(self) -> bool:
        """Whether a policy refused it, and not a wrong field (1300, 1301; D)."""
        return self.code in (1300, 1301)


class UnlistedRefusal(RequestRefused):
    """The provider refuses this request with a code that is in no table."""

    advice = "The code is not documented; the provider's support can say what it means, given the request id."


class IdInUse(RequestRefused):
    """The provider has a task under the id of this create."""

    advice = "The task is looked for by its id; nothing is sent again."


class SlotsExhausted(ProviderError):
    """Every slot of the account's resource pack is taken; nothing was created."""

    advice = "It goes on by itself when a running task ends."


class SlowDown(ProviderError):
    """The provider asks for fewer requests."""

    advice = "It goes on by itself, more slowly."


class AccountTrouble(ProviderError):
    """The account or its key cannot be used."""

    advice = "Look at the account in the provider's console."


class NoSuchRoute(AccountTrouble):
    """What answers at KLING_BASE_URL knows no such method; that says nothing about any spec."""

    advice = LOOK_AT_ADDRESS


class TryLater(ProviderError):
    """The provider cannot answer at the moment."""

    advice = "It is asked again by itself."


class NotSent(TryLater):
    """The API could not be reached; nothing was sent."""

    advice = "Check the network, the proxy settings and KLING_BASE_URL."


class Unreadable(TryLater):
    """The answer is not in the provider's format."""


class Unproven(ProviderError):
    """Nothing in the provider's answers shows that a task is ours; what it made is not fetched."""

    advice = "Where it is yours all the same, `reconciler import TASK_ID --for SPEC` takes it over."


class OutcomeUnknown(ProviderError):
    """Whether the provider accepted the task is not known."""

    advice = "It is looked for by its id before anything is sent again."


class Misdirected(OutcomeUnknown):
    """What answered the create does not seem to be the API; whether it passed the request on is not known."""

    advice = LOOK_AT_ADDRESS


class SendingBroke(OutcomeUnknown):
    """A mistake of the program ended the request; whether the task exists is not known."""


class ResultRefused(ProviderError):
    """The result's URL is refused: it has expired, or the file is gone."""


class ResultInterrupted(ProviderError):
    """The download broke off."""


class ResultSlow(ResultInterrupted):
    """The download is slow, and others wait for their turn."""


class ResultUnsafe(ProviderError):
    """The result may not be fetched."""


class ResultTooLarge(ResultUnsafe):
    """The result is larger than is kept."""

    advice = "Raise RECONCILER_MAX_RESULT_BYTES, and it is fetched."


# The token is not valid yet, or has expired: signing again by the server's clock may cure it (D).
CLOCK_CODES: Final = frozenset({1003, 1004})

REACTIONS: Final[dict[int, type[ProviderError]]] = {
    **dict.fromkeys((1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1304), AccountTrouble),
    **dict.fromkeys((1200, 1201, 1203, 1300, 1301), RequestRefused),
    1202: NoSuchRoute,
    1302: SlowDown,
    1303: SlotsExhausted,
    **dict.fromkeys((5000, 5001, 5002), TryLater),
}
"""The provider's error table (D). On a create, 5000-5002 leave the outcome unknown instead."""

_REMEDIES: Final = {
    **dict.fromkeys((1000, 1001, 1002), "Check the access key and the secret key, or the API key."),
    **dict.fromkeys(
        CLOCK_CODES, "Set this machine's clock; signing again with the server's time did not help."
    ),
    1101: "The account is in arrears: top it up.",
    1102: "The resource pack is used up or has expired: buy another.",
    1103: "The account has no right to this API or model: ask for it in the provider's console.",
    1304: "This machine's address is not on the account's allow list.",
}
NO_ROUTE: Final = frozenset({404, 405})  # no such path, or no such method of it
_BY_STATUS: Final[dict[int, type[ProviderError]]] = {
    401: AccountTrouble,
    429: SlowDown,
    **dict.fromkeys(NO_ROUTE, NoSuchRoute),
}


def is_strange(http_status: int, code: int | None, *, is_page: bool) -> bool:
    """Whether an answer looks like another server's: a route that is not there, or a page where nothing went wrong."""
    return (http_status in NO_ROUTE and code not in REACTIONS) or (is_page and http_status < 400)


def reaction(
    http_status: int, code: int | None, *, create: bool, is_page: bool = False
) -> type[ProviderError] | None:
    """Return the class to raise for an answer, None for a success; `code` is None when there is no envelope.

    A create is refused only by an envelope of the provider's own with a status below 500: a proxy that answers a bare
    429 may have passed the request on, so the task may exist. An unlisted code means what its HTTP status says where
    that is plain (401, 404, 405, 429). `is_page`: HTML or XML came.
    """
    strange = is_strange(http_status, code, is_page=is_page)
    # Codes that say that the server, or a gateway that numbers as HTTP does, broke down.
    is_internal = code is not None and (5000 <= code < 6000 or 500 <= code < 600)
    if http_status >= 500 or http_status == 408 or is_internal:
        return OutcomeUnknown if create else TryLater
    contradictory = 300 <= http_status < 400 or (code == 0 and not 200 <= http_status < 300)
    if code is None or contradictory or (create and strange):
        if create:
            return Misdirected if strange else OutcomeUnknown
        return SlowDown if http_status == 429 else Unreadable
    if code == 0:
        return None
    return REACTIONS.get(code) or _BY_STATUS.get(http_status, UnlistedRefusal)
