"""The identity is frozen: these vectors are what every user's library was bought under."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.identity import (
    attempt_id,
    canonical_generation,
    canonical_json,
    compute_external_task_id,
    split_attempt,
)

from .builders import SMALLEST, generations

MEDIA = Path(__file__).parents[1] / "media"

SAMPLE: dict[str, object] = {
    "model_name": "kling-v2-6",
    "image_url": "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-qa-test/multi-3.ng.png",
    "prompt": "The girl is wearing a loose gray T-shirt and denim shorts",
    "video_url": "https://p2-kling.klingai.com/kcdn/cdn-kcdn112452/kling-qa-test/dance.mp4",
    "keep_original_sound": "yes",
    "character_orientation": "image",
    "mode": "pro",
    "callback_url": "",
}

UNICODE = (
    '{"kind":"motion-control","request":{"character_orientation":"video","element_list":'
    '[{"element_id":829836802793406551}],"image_url":{"sha256":'
    '"88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"},'
    '"keep_original_sound":"no","mode":"std","model_name":"kling-v3","prompt":"跳舞 — café",'
    '"video_url":"https://example.com/dance.mp4","watermark_info":{"enabled":true}},"take":1}'
)


def test_the_sample_of_the_providers_documents_keeps_its_ids() -> None:
    """These ids are frozen: another one would buy every user's library again."""
    ids = [generation.external_task_id for generation in generations({**SAMPLE, "takes": 2})]
    assert ids == ["mc1-qxb3rggtdhpty43aoj27wuanuz", "mc1-bd37ey766egmg3khjsndue2o2y"]


def test_a_request_with_unicode_an_element_and_a_local_image_keeps_its_id() -> None:
    """The canonical text and its id are frozen for everything that a request can hold."""
    assert compute_external_task_id(UNICODE) == "mc1-uhsvnyxbljvxa2zw6tbzejuzad"
    document = json.loads(UNICODE)
    assert canonical_generation(document["kind"], document["request"], 1) == UNICODE


def test_the_image_in_the_golden_vector_is_the_one_beside_the_tests() -> None:
    """The golden vector speaks of a file that anybody can hash again."""
    digest = hashlib.sha256((MEDIA / "astronaut.png").read_bytes()).hexdigest()
    assert digest in UNICODE


@given(st.permutations(list(SAMPLE.items())))
def test_the_order_of_keys_never_changes_an_id(items: list[tuple[str, object]]) -> None:
    """Sorting the keys of a spec buys nothing again."""
    (generation,) = generations(dict(items))
    assert generation.external_task_id == "mc1-qxb3rggtdhpty43aoj27wuanuz"


@given(st.text(st.characters(categories=["Ll", "Lo", "P", "So"]), min_size=1, max_size=50))
def test_white_space_around_a_prompt_never_changes_an_id(prompt: str) -> None:
    """An editor that trims or adds lines round a prompt buys nothing again."""
    bare, padded = (
        generations({**SMALLEST, "prompt": text})[0].external_task_id
        for text in (prompt, f" \n\t{prompt}\u3000\n")
    )
    assert bare == padded


@pytest.mark.parametrize(
    "spelled_out",
    [
        {"kind": "motion-control"},
        {"model_name": "kling-v2-6"},
        {"prompt": ""},
        {"prompt": " \n"},
        {"keep_original_sound": "yes"},
        {"keep_original_sound": True},
        {"element_list": []},
        {"watermark_info": {"enabled": False}},
        {"callback_url": ""},
        {"callback_url": "https://example.com/hook"},
        {"takes": 1},
        {"retries": 3},
        {"suspend": True},
        {"matrix": {"mode": ["pro"]}},
    ],
    ids=str,
)
def test_spelling_out_a_default_or_what_changes_no_result_keeps_the_id(
    spelled_out: dict[str, object],
) -> None:
    """Saying what holds anyway buys nothing again."""
    (plain_one,) = generations(SMALLEST)
    (other,) = generations({**SMALLEST, **spelled_out})
    assert other.external_task_id == plain_one.external_task_id
    assert other.canonical == plain_one.canonical


@pytest.mark.parametrize("file", ["specs/other.yaml", "deep/er/dance.json", "dance.toml"])
def test_moving_and_renaming_a_spec_keeps_the_id(file: str) -> None:
    """The place of a spec is no part of what it asks for."""
    assert (
        generations(SMALLEST, file)[0].external_task_id == generations(SMALLEST)[0].external_task_id
    )


def test_every_field_that_changes_the_result_changes_the_id() -> None:
    """Two different wishes never share a purchase."""
    changed: list[dict[str, object]] = [
        {},
        {"image_url": "https://example.com/boy.png"},
        {"video_url": "https://example.com/walk.mp4"},
        {"prompt": "slowly"},
        {"prompt": "Slowly"},
        {"character_orientation": "video"},
        {"character_orientation": "video", "element_list": [{"element_id": 2**63 - 1}]},
        {"character_orientation": "video", "element_list": [{"element_id": 2**63 - 2}]},
        {"mode": "std"},
        {"model_name": "kling-v3"},
        {"keep_original_sound": "no"},
        {"watermark_info": {"enabled": True}},
    ]
    ids = [generations({**SMALLEST, **one})[0].external_task_id for one in changed]
    assert len(set(ids)) == len(changed)


def test_an_element_id_may_be_written_as_digits_and_is_never_rounded() -> None:
    """64-bit ids stay exact, as a number and as text, and are one wish."""
    element = 829836802793406551
    wide = {**SMALLEST, "character_orientation": "video"}
    by_number, by_text = (
        generations({**wide, "element_list": [{"element_id": written}]})[0]
        for written in (element, str(element))
    )
    assert by_number.external_task_id == by_text.external_task_id
    assert by_number.request["element_list"] == [{"element_id": element}]


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_canonical_json_is_utf8_without_white_space_and_reads_back(value: dict[str, int]) -> None:
    """The text that is hashed says all of the request and depends on nothing else."""
    text = canonical_json(value)
    assert json.loads(text.encode("utf-8")) == value
    assert text == canonical_json(dict(reversed(list(value.items()))))


@given(
    st.sampled_from(["mc1-qxb3rggtdhpty43aoj27wuanuz", "my.own", "a-r", "a-r01"]),
    st.integers(1, 999),
)
def test_an_attempt_is_read_back_from_its_id(base: str, attempt: int) -> None:
    """Base and number of an attempt can be told from the id that the provider keeps."""
    assert split_attempt(attempt_id(base, attempt)) == (base, attempt)


@pytest.mark.parametrize("plain_id", ["a-r1", "a-r0", "a-r", "a-rx", "-r", "r2"])
def test_what_only_resembles_an_attempt_is_a_first_one(plain_id: str) -> None:
    """An id of one's own that ends like an attempt is not taken apart."""
    assert split_attempt(plain_id) == (plain_id, 1)
