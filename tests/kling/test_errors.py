"""The map from the provider's answers to reactions."""

from __future__ import annotations

from itertools import product

import pytest

from reconciler.kling import errors
from reconciler.kling.errors import (
    AccountTrouble,
    Misdirected,
    NoSuchRoute,
    OutcomeUnknown,
    ProviderError,
    RequestRefused,
    SlotsExhausted,
    SlowDown,
    TryLater,
    UnlistedRefusal,
    Unreadable,
    reaction,
)

Row = tuple[int, int | None, type[ProviderError] | None, type[ProviderError] | None, str]

# The provider's table as its page has it (D): status, code, reaction of a create, of a read, reason.
DOCUMENTED: list[Row] = [
    (200, 0, None, None, "success"),
    (401, 1000, AccountTrouble, AccountTrouble, "authentication failed"),
    (401, 1001, AccountTrouble, AccountTrouble, "authentication missing"),
    (401, 1002, AccountTrouble, AccountTrouble, "authentication invalid"),
    (401, 1003, AccountTrouble, AccountTrouble, "token not valid yet, signing again did not help"),
    (401, 1004, AccountTrouble, AccountTrouble, "token expired, signing again did not help"),
    (429, 1100, AccountTrouble, AccountTrouble, "429 of an account: exception"),
    (429, 1101, AccountTrouble, AccountTrouble, "429 of an account: in arrears"),
    (429, 1102, AccountTrouble, AccountTrouble, "429 of an account: pack used up"),
    (403, 1103, AccountTrouble, AccountTrouble, "no right to the API or model"),
    (400, 1200, RequestRefused, RequestRefused, "invalid parameters"),
    (400, 1201, RequestRefused, RequestRefused, "an illegal key or value"),
    (404, 1202, NoSuchRoute, NoSuchRoute, "no such method: the address is wrong, not the request"),
    (404, 1203, RequestRefused, RequestRefused, "no such resource"),
    (400, 1300, RequestRefused, RequestRefused, "platform policy"),
    (400, 1301, RequestRefused, RequestRefused, "content policy"),
    (429, 1302, SlowDown, SlowDown, "429 of a rate"),
    (429, 1303, SlotsExhausted, SlotsExhausted, "429 of the slots"),
    (429, 1304, AccountTrouble, AccountTrouble, "429 of an address off the white list"),
    (500, 5000, OutcomeUnknown, TryLater, "internal error: the task may exist"),
    (503, 5001, OutcomeUnknown, TryLater, "maintenance: the task may exist"),
    (504, 5002, OutcomeUnknown, TryLater, "backlog: the task may exist"),
]
UNDOCUMENTED: list[Row] = [
    (200, 1303, SlotsExhausted, SlotsExhausted, "an error body with HTTP 200"),
    (200, 5000, OutcomeUnknown, TryLater, "an internal error with HTTP 200"),
    (400, 5099, OutcomeUnknown, TryLater, "an unlisted internal error"),
    (200, 504, OutcomeUnknown, TryLater, "a gateway that numbers as HTTP does"),
    (400, 1299, UnlistedRefusal, UnlistedRefusal, "a code in no table"),
    (401, 1099, AccountTrouble, AccountTrouble, "unlisted, but HTTP says it is the key"),
    (429, 1399, SlowDown, SlowDown, "unlisted, but HTTP says it is a rate"),
    (503, 1303, OutcomeUnknown, TryLater, "5xx outweighs a readable refusal"),
    (408, 1201, OutcomeUnknown, TryLater, "408 outweighs a readable refusal"),
    (500, 0, OutcomeUnknown, TryLater, "success and failure at once"),
    (200, 1202, NoSuchRoute, NoSuchRoute, "no such method, with HTTP 200"),
    (
        404,
        404,
        Misdirected,
        NoSuchRoute,
        "another server's JSON, which says nothing of what it did",
    ),
    (405, 1, Misdirected, NoSuchRoute, "another server's JSON"),
    (404, 1201, RequestRefused, RequestRefused, "a code of the API's own outweighs a 404"),
    (404, 0, Misdirected, Unreadable, "success and refusal at once"),
    (302, 0, OutcomeUnknown, Unreadable, "a redirect that claims success"),
    (302, 1201, OutcomeUnknown, Unreadable, "a redirect that claims a refusal"),
    (200, None, OutcomeUnknown, Unreadable, "a success that nobody can read"),
    (302, None, OutcomeUnknown, Unreadable, "a redirect"),
    (400, None, OutcomeUnknown, Unreadable, "a proxy's refusal"),
    (403, None, OutcomeUnknown, Unreadable, "a firewall's page"),
    (404, None, Misdirected, Unreadable, "no such page"),
    (405, None, Misdirected, Unreadable, "no such method of it"),
    (408, None, OutcomeUnknown, TryLater, "a proxy that lost patience"),
    (429, None, OutcomeUnknown, SlowDown, "a bare 429 may come after the request was passed on"),
    (502, None, OutcomeUnknown, TryLater, "a proxy's 5xx"),
]


@pytest.mark.parametrize(("status", "code", "create", "read", "reason"), DOCUMENTED + UNDOCUMENTED)
def test_every_answer_has_its_reaction(
    status: int,
    code: int | None,
    create: type[ProviderError] | None,
    read: type[ProviderError] | None,
    reason: str,
) -> None:
    """Each row of the documented table, and of what may come besides, is one kind of reaction."""
    assert reaction(status, code, create=True) is create, reason
    assert reaction(status, code, create=False) is read, reason


def test_the_table_holds_the_documented_codes_and_no_others() -> None:
    """A code that is added to one of the two tables has to be added to the other."""
    assert set(errors.REACTIONS) == {code for _, code, *_ in DOCUMENTED} - {0}


def test_the_map_is_total_and_never_calls_a_doubtful_create_refused() -> None:
    """Every status with every code is a reaction; only a readable envelope below 500 ends a create."""
    codes = [None, -1, 0, 1, 404, 500, 10**17, *(code for _, code, *_ in DOCUMENTED)]
    for status, code in product(range(100, 600), codes):
        for create in (True, False):
            kind = reaction(status, code, create=create)
            in_doubt = kind is not None and issubclass(kind, OutcomeUnknown)
            assert create or not in_doubt
            assert kind is not None or (code == 0 and 200 <= status < 300)
        created = reaction(status, code, create=True)
        definite = created is None or not issubclass(created, OutcomeUnknown)
        assert not definite or (code is not None and status < 500 and status != 408)


def test_a_message_and_advice_are_always_there() -> None:
    """Whatever is raised is a sentence and, for the kinds people see, what to do."""
    for kind in (*set(errors.REACTIONS.values()), OutcomeUnknown, UnlistedRefusal, errors.NotSent):
        assert kind().message
        assert kind().hint
    assert "top it up" in AccountTrouble(code=1101).hint
    assert RequestRefused(code=1301).policy
    assert not RequestRefused(code=1201).policy
