"""The provider's JSON, read and written."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import motion_control
from reconciler.core.states import TaskState, Video
from reconciler.kling import wire
from reconciler.kling.errors import ProviderError, Unreadable

DOCUMENTED = {
    "task_id": "867283741759111202",
    "task_status": "succeed",
    "task_status_msg": "",
    "task_info": {"external_task_id": "mc1-a"},
    "task_result": {
        "videos": [
            {
                "id": "v",
                "url": "https://cdn/v.mp4",
                "watermark_url": "https://cdn/w.mp4",
                "duration": "5.041",
            }
        ]
    },
    "watermark_info": {"enabled": True},
    "final_unit_deduction": "2.50",
    "created_at": 1722769557708,
    "updated_at": 1722769559999,
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["7", "0", "x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *DOCUMENTED,
                    "id",
                    "code",
                    "message",
                    "data",
                    "videos",
                    "url",
                    "resource_pack_subscribe_infos",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def test_the_documented_task_is_read_whole() -> None:
    """Every documented field arrives, in our words (D)."""
    task = wire.parse_task(DOCUMENTED)
    assert (task.task_id, task.external_task_id) == ("867283741759111202", "mc1-a")
    assert (task.state, task.said) == (TaskState.SUCCEEDED, "succeed")
    assert task.videos == (Video("https://cdn/v.mp4", "https://cdn/w.mp4"),)
    assert str(task.units) == "2.50"
    assert (task.created_at, task.updated_at) == (1722769557708, 1722769559999)


TASKS = [
    ({"id": "7"}, {"task_id": "7"}, "the newer family calls it id"),
    (
        {"task_id": 867283741759111202},
        {"task_id": "867283741759111202"},
        "a number keeps every digit",
    ),
    ({"task_status": "succeeded"}, {"state": TaskState.SUCCEEDED}, "the newer spelling"),
    (
        {"task_status": "queued"},
        {"state": TaskState.UNLISTED, "said": "queued"},
        "a word of next year",
    ),
    ({"task_status": None}, {"state": TaskState.UNLISTED, "said": ""}, "no word at all"),
    (
        {"task_status": "failed", "task_status_msg": "no \x1b[31mface"},
        {"message": "no  [31mface"},
        "no control codes",
    ),
    ({"task_status_msg": "\ud800"}, {"message": "?"}, "a lone surrogate could not be stored"),
    (
        {"task_info": "x", "task_result": 3},
        {"external_task_id": "", "videos": ()},
        "parts of another type",
    ),
    (
        {"task_result": {"videos": [None, {}, {"url": "u", "duration": 5}]}},
        {"videos": (Video("u"),)},
        "odd videos",
    ),
    ({"final_unit_deduction": "free"}, {"units": None}, "nonsense is not a quantity"),
    ({"final_unit_deduction": "1e99"}, {"units": None}, "nor is an exponent"),
    ({"final_unit_deduction": "-1"}, {"units": None}, "nor is a gift"),
    ({"final_unit_deduction": ""}, {"units": None}, "not yet known"),
    ({"final_unit_deduction": 3}, {"units": Decimal(3)}, "a number instead of a string"),
    (
        {"final_balance_deduction": {"quota": "0.63", "list_price": Decimal("0.70")}},
        {"paid": "0.63 was deducted from the account's balance (list price 0.70)"},
        "what a cash account paid",
    ),
    (
        {"final_balance_deduction": {"quota": 1}},
        {"paid": "1 was deducted from the account's balance"},
        "no list price",
    ),
    ({"final_balance_deduction": {"list_price": "1", "quota": "?"}}, {"paid": ""}, "not said"),
    ({"final_balance_deduction": "0.63"}, {"paid": ""}, "of another type"),
    ({"created_at": "1722769557708"}, {"created_at": 1722769557708}, "a time in a string"),
    (
        {"created_at": 10**30, "updated_at": True},
        {"created_at": None, "updated_at": None},
        "times that are none",
    ),
    (
        {"created_at": 1722769557, "updated_at": 1722769559999000},
        {"created_at": 1722769557000, "updated_at": 1722769559999},
        "seconds, and microseconds: no time could be both",
    ),
    (
        {"created_at": 1722769557708000123, "updated_at": "17227695577"},
        {"created_at": 1722769557708, "updated_at": None},
        "nanoseconds; and what is no time in any unit",
    ),
    (
        {"created_at": 0, "updated_at": -1722769557708},
        {"created_at": None, "updated_at": None},
        "before there was an API",
    ),
    ({"surprise": {"deep": [1]}}, {"task_id": "867283741759111202"}, "unknown fields are nothing"),
]


@pytest.mark.parametrize(("changes", "expected", "reason"), TASKS)
def test_an_odd_task_is_read_for_what_it_means(
    changes: dict[str, object], expected: dict[str, object], reason: str
) -> None:
    """Missing parts, other types and new words never hide the rest of a task."""
    data = {**DOCUMENTED, **changes}
    if "id" in changes:
        del data["task_id"]
    task = wire.parse_task(data)
    assert {name: getattr(task, name) for name in expected} == expected, reason


@pytest.mark.parametrize(
    "data", [None, [], "x", 3, {}, {"task_id": ""}, {"task_id": None}, {"task_id": 8.6e17}]
)
def test_a_task_without_an_id_is_none(data: object) -> None:
    """What cannot be asked for again is not taken for a task, least of all a rounded id."""
    with pytest.raises(Unreadable):
        wire.parse_task(data)


NO_ENVELOPES = [
    (b"", "nothing"),
    (b"<html>502</html>", "a proxy's page"),
    (b'{"code":0,"data"', "half a body"),
    (b'{"message":"ok"}', "no code"),
    (b'{"code":null}', "a code that is none"),
    (b'{"code":true}', "a boolean is no code"),
    (b'{"code":0.0}', "a fraction is no code"),
    (b'{"code":NaN}', "not JSON"),
    (b"[0]", "a list"),
    (b"\xff\xfe", "not text"),
    (b"[" * 100_000, "too deep"),
    (b'{"code":0,"data":' + b"9" * 5000 + b"}", "a number without end"),
]


@pytest.mark.parametrize(("raw", "reason"), NO_ENVELOPES)
def test_what_is_no_envelope_says_nothing(raw: bytes, reason: str) -> None:
    """Only an object with a whole-number code is the provider's word."""
    with pytest.raises(Unreadable):
        wire.parse_envelope(raw)


def test_an_envelope_keeps_every_digit() -> None:
    """Wide numbers and decimals are not rounded on their way; a code in a string is a code."""
    envelope = wire.parse_envelope(
        b'{"code":"1303","request_id":7,"data":[829836802793406551,0.1]}'
    )
    assert (envelope.code, envelope.request_id) == (1303, "")
    assert envelope.data == [829836802793406551, Decimal("0.1")]


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_answer_is_too_odd(raw: bytes) -> None:
    """Whatever arrives, parsing gives a value or an error of the provider's kind."""
    found = None
    with suppress(ProviderError):
        envelope = wire.parse_envelope(raw)
        wire.parse_verdict(envelope)
        found = wire.find_task(envelope.data, "7")
    assert found is None or "7" in (found.task_id, found.external_task_id)


@given(JSON)
def test_no_data_is_too_odd(data: object) -> None:
    """Whatever `data` is, a task that comes of it can be stored and is the one that was asked for."""
    for parse in (wire.parse_tasks, wire.parse_packs):
        try:
            parse(data)
        except ProviderError:
            continue
    try:
        task = wire.find_task(data, "7")
    except ProviderError:
        return
    if task is not None:
        assert "7" in (task.task_id, task.external_task_id)
        repr(task).encode()
        assert task.units is None or 0 <= task.units < 10**12
        assert all(t is None or 0 < t < 2**63 for t in (task.created_at, task.updated_at))


MINE = {"task_id": "1", "task_info": {"external_task_id": "mine"}}
OTHER = {"task_id": "2", "task_info": {"external_task_id": "other"}}
FOUND = [
    (MINE, "mine", "1", "by our id"),
    (MINE, "1", "1", "by theirs"),
    ([OTHER, MINE], "mine", "1", "the right one of a list"),
    ([{"task_id": None}, MINE], "mine", "1", "beside one that is garbled"),
    (None, "mine", None, "null is unknown"),
    ({}, "mine", None, "an empty object is unknown"),
    ([], "mine", None, "an empty list is unknown"),
    ("", "mine", None, "an empty string is unknown"),
]
NOT_FOUND = [
    (OTHER, "somebody else's task"),
    ([OTHER], "a list of somebody else's tasks"),
    ([{"task_id": "2"}], "a list with a task that does not name our id"),
    ({"task_status": "submitted"}, "a task without ids"),
    (False, "a boolean"),
    (0, "a number"),
    ("none", "a word"),
]


@pytest.mark.parametrize(("data", "asked", "expected", "reason"), FOUND)
def test_the_task_that_was_asked_for_is_found(
    data: object, asked: str, expected: str | None, reason: str
) -> None:
    """Either id finds it, alone or in a list; an empty answer is a readable unknown."""
    task = wire.find_task(data, asked)
    assert (task and task.task_id) == expected, reason


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ({"task_id": "2"}, "mine"),
        ({"task_id": "2"}, "2024"),
        (
            {"task_id": "2", "task_info": {"external_task_id": "mc1-qxb3rggtdhpty43aoj27"}},
            "mc1-qxb3rggtdhpty43aoj27wuanuz",
        ),
        ({"task_id": "2", "task_info": {"external_task_id": "DANCE"}}, "Dance"),
    ],
)
def test_asked_by_our_id_a_task_that_names_no_other_is_ours(data: object, asked: str) -> None:
    """Ids may be left out, cut, or kept in another case (U); asked by our own id, the answer can mean no other task."""
    task = wire.find_task(data, asked, ours=True)
    assert task is not None


@pytest.mark.parametrize(("data", "reason"), NOT_FOUND)
def test_somebody_elses_task_is_not_adopted(data: object, reason: str) -> None:
    """An answer about other tasks is neither ours nor a proof that ours is absent."""
    with pytest.raises(Unreadable):
        wire.find_task(data, "mine")


def test_an_answer_with_another_task_id_is_not_taken_for_the_one_asked_for() -> None:
    """Asked by the provider's own id, an answer must name it."""
    with pytest.raises(Unreadable):
        wire.find_task({"task_id": "2"}, "1")


def test_a_page_survives_an_entry_that_does_not_parse() -> None:
    """One garbled entry does not hide the others; no list at all is unreadable."""
    assert [task.task_id for task in wire.parse_tasks([OTHER, 3, MINE])] == ["2", "1"]
    assert wire.parse_tasks(None) == wire.parse_tasks([]) == wire.parse_tasks({}) == ()
    with pytest.raises(Unreadable):
        wire.parse_tasks({"list": []})


def test_packs_are_read() -> None:
    """Quantities are exact, whether they come as numbers or strings (D)."""
    pack = {
        "resource_pack_name": "P",
        "total_quantity": Decimal("10.5"),
        "status": "online",
    }
    (parsed,) = wire.parse_packs({"code": 0, "resource_pack_subscribe_infos": [pack, None]})
    assert (parsed.name, parsed.total, parsed.remaining) == ("P", Decimal("10.5"), None)


def test_a_create_body_is_the_request_with_its_files_replaced() -> None:
    """Image bytes go as raw Base64 without a prefix, element ids keep 64 bits, nothing is sent that was not asked."""
    request = {
        "image_url": {"sha256": "0" * 64},
        "video_url": {"sha256": "1" * 64},
        "mode": "std",
        "element_list": [{"element_id": 829836802793406551}],
    }
    sent = motion_control.body(request, {"image_url": b"\x89PNG", "video_url": "https://m/v.mp4"})
    body = wire.create_body(sent, external_task_id="mc1-a")
    assert body == {
        "image_url": base64.b64encode(b"\x89PNG").decode(),
        "video_url": "https://m/v.mp4",
        "mode": "std",
        "element_list": [{"element_id": 829836802793406551}],
        "external_task_id": "mc1-a",
    }
    assert request["image_url"] == {"sha256": "0" * 64}
    sent = motion_control.body(request, {"image_url": "https://i", "video_url": "v"})
    by_url = wire.create_body(sent, external_task_id="a", callback_url="https://c")
    assert (by_url["image_url"], by_url["callback_url"]) == ("https://i", "https://c")


QUOTED = [
    ("cannot read https://b.s3.amazonaws.com/in/a.mp4?X-Amz-Signature=hush&X=1 at all",
     "cannot read https://b.s3.amazonaws.com/in/a.mp4?… at all", "a signed URL"),
    ('url "https://h/a?sig=hush", and http://h/b?k=hush.', 'url "https://h/a?…", and http://h/b?…', "two"),
    ("is that so? see https://h/a", "is that so? see https://h/a", "a question and a plain URL"),
    ("https://h/a?" + "hush" * 5000, "https://h/a?…", "one that is cut"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "kept", "reason"), QUOTED)
def test_a_signed_url_that_the_provider_quotes_is_not_kept(
    said: str, kept: str, reason: str
) -> None:
    """Its sentences go to the history and to people; a URL that opens our bucket stays out of them."""
    assert wire.sentence(said) == kept, reason
