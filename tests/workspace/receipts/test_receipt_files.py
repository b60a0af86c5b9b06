"""Receipt files: the same bytes for the same entries, no harm from anybody's, no needless write."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.documents import DocumentError, Limits, Problem, plain
from reconciler.core.errors import WorkspaceError
from reconciler.core.receipt_entries import ReceiptEntry, ReceiptOutput, merge
from reconciler.core.states import Role, Status
from reconciler.workspace.files.root import Root
from reconciler.workspace.read.formats import parse
from reconciler.workspace.read.json_reader import read_json
from reconciler.workspace.receipts import receipt_files
from reconciler.workspace.receipts.receipt_files import (
    ReceiptError,
    parse_receipt,
    read_receipt,
    render_receipt,
    write_receipt,
)

ENTRY = ReceiptEntry(
    external_task_id="mc1-uhsvnyxbljvxa2zw6tbzejuzad",
    task_id="867283741759111202",
    label="pro.2",
    status=Status.COMPLETE,
    request={"prompt": "跳舞 — café", "element_list": [{"element_id": 829836802793406551}]},
    outputs=(ReceiptOutput("dance.pro.2.mp4", Role.VIDEO, "ab" * 32, 1_055_736, 5.312),),
    units=Decimal("4.25"),
    created_at=1_795_348_024_123,
    finished_at=None,
)

RENDERED = """\
{
  "generations": [
    {
      "created_at": "2026-11-22T11:47:04.123Z",
      "external_task_id": "mc1-uhsvnyxbljvxa2zw6tbzejuzad",
      "finished_at": null,
      "label": "pro.2",
      "outputs": [
        {
          "bytes": 1055736,
          "duration": 5.312,
          "path": "dance.pro.2.mp4",
          "role": "video",
          "sha256": "abababababababababababababababababababababababababababababababab"
        }
      ],
      "request": {
        "element_list": [
          {
            "element_id": 829836802793406551
          }
        ],
        "prompt": "跳舞 — café"
      },
      "status": "complete",
      "task_id": "867283741759111202",
      "units": "4.25"
    }
  ],
  "schema": 1
}
"""


def test_a_receipt_is_rendered_as_promised() -> None:
    """The bytes of a receipt are a file format that users commit: they stay."""
    assert render_receipt([ENTRY]).decode() == RENDERED


IDS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,60}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
SIDES = st.none() | st.integers(1, 2**31 - 1)
OUTPUTS = st.builds(
    ReceiptOutput,
    st.from_regex(r"[a-z0-9_][a-zé0-9._ -]{0,20}\.mp4", fullmatch=True),
    st.sampled_from([Role.VIDEO, Role.WATERMARK]),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.integers(0, 2**63 - 1),
    st.none() | st.floats(0, 1e6),
    SIDES,
    SIDES,
)
PREVIEWS = st.builds(
    ReceiptOutput,
    st.from_regex(r"[a-z0-9_][a-zé0-9._ -]{0,20}\.(poster|sheet)\.webp", fullmatch=True),
    st.sampled_from([Role.POSTER, Role.SHEET]),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.integers(0, 2**63 - 1),
    st.none(),
    SIDES,
    SIDES,
)
TIMES = st.none() | st.integers(1_577_836_800_000, 4_102_444_799_999)  # ms
ENTRIES = st.builds(
    ReceiptEntry,
    external_task_id=IDS,
    task_id=IDS | st.just(""),
    label=st.from_regex(r"[a-z0-9_-]{0,9}(\.[0-9]{1,3})?", fullmatch=True),
    status=st.sampled_from([Status.COMPLETE, Status.FAILED, Status.EXPIRED]),
    request=st.dictionaries(st.text("abc"), JSON, max_size=3),
    outputs=st.lists(OUTPUTS, max_size=2).map(tuple),
    units=st.none() | st.decimals(0, 10**6, places=3) | st.just(Decimal("1E+3")),
    created_at=TIMES,
    finished_at=TIMES,
    current=st.booleans(),
    previews=st.lists(PREVIEWS, max_size=2, unique_by=lambda preview: preview.role).map(tuple),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ENTRIES, max_size=4, unique_by=lambda entry: entry.sort_key))
def test_reading_what_was_written_gives_the_same_entries(entries: list[ReceiptEntry]) -> None:
    """A receipt loses nothing, and the order of its entries does not matter."""
    rendered = render_receipt(entries)
    parsed = parse_receipt(rendered, "dance.receipt.json")
    ordered = sorted(entries, key=lambda entry: entry.sort_key)
    assert list(parsed) == ordered
    assert [entry.previews for entry in parsed] == [entry.previews for entry in ordered]
    assert render_receipt(parsed) == rendered  # the sides too
    assert render_receipt(entries[::-1]) == rendered


def test_only_what_is_not_current_says_so() -> None:
    """`current` is written for past purchases only, and survives being read and written."""
    past = json.loads(RENDERED)["generations"][0] | {"current": False}
    (entry,) = parse_receipt(json.dumps({"schema": 1, "generations": [past]}).encode(), "r")
    assert not entry.current
    assert json.loads(render_receipt([entry]))["generations"] == [past]


def test_keys_of_a_newer_program_are_passed_over() -> None:
    """A receipt with further keys is still a proof of purchase for this program."""
    document = json.loads(RENDERED)
    document["new"] = document["generations"][0]["new"] = {"x": 1}
    assert parse_receipt(json.dumps(document).encode(), "r") == (ENTRY,)


def changed(path: list[str | int], value: object) -> bytes:
    """The receipt with one value replaced."""
    document = holder = json.loads(RENDERED)
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return json.dumps(document, indent=2).encode()


FIRST: list[str | int] = ["generations", 0]
OUTPUT: list[str | int] = [*FIRST, "outputs", 0]


@pytest.mark.parametrize(
    "name",
    ["../dance.mp4", "/etc/dance.mp4", "a/b.mp4", "..", ".", "", ".mp4", ".git.mp4", "a\\b.mp4", "a\nb.mp4", "a\x00.mp4",
     "dance.yaml", "x" * 260 + ".mp4", "dance.mp4\n", "C:\\dance.mp4"],
)  # fmt: skip
def test_an_output_can_name_nothing_but_a_video_beside_the_receipt(name: str) -> None:
    """A forged receipt leads to no file outside its folder and to no spec."""
    with pytest.raises(ReceiptError):
        parse_receipt(changed([*OUTPUT, "path"], name), "r")


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        (b"", "r:1:1: this is not a receipt", "empty"),
        (b"[]", "this is not a receipt", "a list"),
        (b"{", "not valid JSON", "broken off"),
        (b"[" * 100_000, "nested too deeply", "a bomb"),
        (b"\xff", "is not UTF-8", "no text"),
        (RENDERED.replace('  "schema": 1', "<<<<<<< HEAD").encode(), "r:30:1: an unresolved merge conflict", "a merge"),
        (changed(["schema"], 2), "upgrade", "a newer program's"),
        (changed(["schema"], True), "this is not a receipt", "no number"),
        (changed(["generations"], None), "`generations`", "no list"),
        (changed([*FIRST, "status"], "bought"), "`generations.0.status`", "a status in no list"),
        (changed([*FIRST, "task_id"], 867283741759111202), "`generations.0.task_id`", "an id as a number"),
        (changed([*FIRST, "task_id"], "../../account"), "`generations.0.task_id`", "an id that changes the URL"),
        (changed([*FIRST, "external_task_id"], "a b"), "`generations.0.external_task_id`", "no id"),
        (changed([*FIRST, "label"], "../x"), "`generations.0.label`", "a label that leaves the folder"),
        (changed([*FIRST, "units"], 4.25), "`generations.0.units`", "units as a float"),
        (changed([*FIRST, "units"], "-1000"), "`generations.0.units`", "a cap would be undone"),
        (changed([*FIRST, "status"], "pending"), "`generations.0.status`", "a status never written"),
        (changed([*FIRST, "units"], "NaN"), "`generations.0.units`", "not a number"),
        (changed([*FIRST, "created_at"], "2026-11-22T11:47:04"), "`generations.0.created_at`", "no zone"),
        (changed([*FIRST, "created_at"], "xZ"), "`generations.0.created_at`", "no time"),
        (changed([*FIRST, "created_at"], "0001-01-01T00:00:00Z"), "`generations.0.created_at`", "before the epoch"),
        (changed([*FIRST, "request"], []), "`generations.0.request`", "no mapping"),
        (changed([*OUTPUT, "sha256"], "AB" * 32), "`generations.0.outputs.0.sha256`", "upper-case"),
        (changed([*OUTPUT, "bytes"], -1), "`generations.0.outputs.0.bytes`", "negative"),
        (changed([*OUTPUT, "role"], "thumbnail"), "`generations.0.outputs.0.role`", "a role in no list"),
        (changed(["generations"], json.loads(RENDERED)["generations"] * 2), "listed twice", "both sides of a merge kept"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_wrong_with_a_receipt_is_said(data: bytes, words: str, reason: str) -> None:
    """A receipt that cannot be believed is refused with the key that is wrong, never half read."""
    with pytest.raises(ReceiptError) as caught:
        parse_receipt(data, "r")
    assert words in str(caught.value.problem), reason


def test_a_fault_stands_where_it_was_written() -> None:
    """A problem in a receipt is shown at its line and column."""
    with pytest.raises(ReceiptError) as caught:
        parse_receipt(RENDERED.replace('"complete"', '"bought"').encode(), "r")
    assert str(caught.value.problem).startswith("r:25:17: ")


@given(
    st.binary(max_size=100)
    | st.text().map(
        lambda text: f'{{"schema": 1, "generations": [{text}]}}'.encode("utf-8", "replace")
    )
)
def test_any_bytes_give_entries_or_a_receipt_error(data: bytes) -> None:
    """Nothing that stands in a receipt ends a run, and what is read can be written."""
    entries: tuple[ReceiptEntry, ...] = ()
    place = "r:"
    try:
        entries = parse_receipt(data, "r")
    except ReceiptError as error:
        place = str(error.problem)
    assert place.startswith("r:")
    assert sorted(parse_receipt(render_receipt(entries), "r"), key=repr) == sorted(
        entries, key=repr
    )


def test_a_receipt_that_says_the_same_is_not_touched(tmp_path: Path) -> None:
    """An unchanged receipt keeps its mtime, so that git and watchers see nothing."""
    path = tmp_path / "dance.receipt.json"
    data = render_receipt([ENTRY])
    assert read_receipt(Root(tmp_path), "dance.receipt.json") == ()
    assert write_receipt(Root(tmp_path), path.name, data)
    before = path.stat()
    assert not write_receipt(Root(tmp_path), path.name, data)
    assert path.stat() == before
    assert read_receipt(Root(tmp_path), "dance.receipt.json") == (ENTRY,)
    assert write_receipt(Root(tmp_path), path.name, render_receipt([]))
    assert [found.name for found in tmp_path.iterdir()] == ["dance.receipt.json"]


def test_a_receipt_is_never_written_through_a_link(tmp_path: Path) -> None:
    """A link at a receipt's name does not lead writing to another file."""
    (tmp_path / "precious").write_text("theirs")
    (tmp_path / "link.json").symlink_to("precious")
    (tmp_path / "folder.json").mkdir()
    for name in ("link.json", "folder.json"):
        with pytest.raises(WorkspaceError, match="is not replaced"):
            write_receipt(Root(tmp_path), name, b"ours")
    assert (tmp_path / "precious").read_text() == "theirs"


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    """A receipt whose folder is gone ends in a sentence, not in a new folder."""
    with pytest.raises(WorkspaceError, match="does not exist"):
        write_receipt(Root(tmp_path), "none/a.json", b"ours")


def numbers(count: int) -> bytes:
    return b'{"schema": 1, "generations": [], "x": [' + b"1," * count + b"1]}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (numbers(4_000_000), "400,000 values"),
        (b"\n" * 4_000_000, "800,000 lines"),
        (b" " * (9 * 1024 * 1024), "larger than 8 MiB"),
        (b'{"schema": 1, "generations": [' + b"0," * 390_000 + b"0]}", "`generations.0`"),
        (b'{"schema": 1, "generations": ' + b"[" * 390_000, "nested too deeply"),
        (changed([*FIRST, "request"], {"prompt": [json.loads("[" * 40 + "]" * 40)]}), "nested too deeply"),
        (RENDERED.replace("829836802793406551", "1e999").encode(), "too large"),
    ],
    ids=["values", "lines", "bytes", "entries", "depth", "depth of a request", "a number"],
)  # fmt: skip
def test_a_receipt_that_would_cost_much_is_refused_for_little(
    tmp_path: Path, data: bytes, words: str
) -> None:
    """Some of these are a few KB in a pack of git: none takes a second, and each is told in a sentence."""
    path = tmp_path / "dance.receipt.json"
    path.write_bytes(data)
    began = time.process_time()
    with pytest.raises(ReceiptError) as caught:
        read_receipt(Root(tmp_path), "dance.receipt.json")
    assert time.process_time() - began < 1
    assert words in str(caught.value.problem)


def test_a_broken_receipt_tells_which_ids_stand_in_it(tmp_path: Path) -> None:
    """So that what it may hide is not bought, wherever it is wanted; `-r2` is an attempt at the same."""
    path = tmp_path / "dance.receipt.json"
    path.write_text('<<<<<<< ours\n"mc1-uhsvnyxbljvxa2zw6tbzejuzad-r2": "my-own"')
    with pytest.raises(ReceiptError) as caught:
        read_receipt(Root(tmp_path), "dance.receipt.json")
    assert {"mc1-uhsvnyxbljvxa2zw6tbzejuzad", "my-own"} <= caught.value.named


def test_no_receipt_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    """It stays as it was, and what to do is said."""
    path = tmp_path / "dance.receipt.json"
    with pytest.raises(WorkspaceError, match="too large"):
        write_receipt(Root(tmp_path), path.name, b" " * (receipt_files.LARGEST_RECEIPT + 1))
    assert not path.exists()


def test_a_receipt_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder that is named like a receipt is a problem, and not an empty receipt."""
    with pytest.raises(ReceiptError, match="is not a plain file"):
        read_receipt(Root(tmp_path.parent), tmp_path.name)


_SAMPLES = (RENDERED.encode(), render_receipt([ENTRY, replace(ENTRY, label="x", current=False)]))


@given(st.data())
def test_what_the_reader_of_specs_takes_for_json_a_receipt_does_too(data: st.DataObject) -> None:
    """Whatever is changed in a receipt: it is refused at the same place, or says what the JSON in it says."""
    whole = data.draw(st.sampled_from(_SAMPLES))
    at = data.draw(st.integers(0, len(whole) - 1))
    piece = data.draw(
        st.sampled_from([b"", b"0", b'"', b"{", b"}", b",", b"\\u0041", b"1e400", b"NaN", b"null"])
    )
    width = data.draw(st.integers(0, 3))
    changed = whole[:at] + piece + whole[at + width :]
    found, expected = _read(changed), _read_as_a_spec(changed)
    if isinstance(expected, Problem):
        assert found == expected
    elif re.search(r"\binf\b", repr(expected)):
        assert "too large" in str(found)
    else:
        again = _read(json.dumps(expected).encode())
        assert _without_place(found) == _without_place(again)


def _read(receipt: bytes) -> object:
    try:
        return parse_receipt(receipt, "r")
    except ReceiptError as error:
        return error.problem


def _read_as_a_spec(text: bytes) -> object:
    try:
        return plain(parse(text, "r", read_json, Limits()))
    except DocumentError as error:
        return error.problem


def _without_place(found: object) -> object:
    return found.message if isinstance(found, Problem) else found


def test_a_receipt_with_a_byte_order_mark_is_read() -> None:
    """An editor of Windows may have put one there."""
    assert parse_receipt(b"\xef\xbb\xbf" + RENDERED.encode(), "r") == (ENTRY,)


PREVIEW = {"path": "dance.pro.2.poster.webp", "role": "poster", "sha256": "cd" * 32, "bytes": 5}


@pytest.mark.parametrize(
    "previews",
    [
        None, 7, {}, "x", [None], [[]], [{}],
        [PREVIEW | {"role": "video"}], [PREVIEW | {"role": "soundtrack"}], [PREVIEW | {"bytes": -1}],
        [PREVIEW | {"sha256": "x"}], [PREVIEW | {"width": "wide"}], [PREVIEW | {"height": 0}],
        *([PREVIEW | {"path": path}] for path in (
            "../dance.poster.webp", "/dance.poster.webp", "a/b.poster.webp", ".poster.webp", "logo.webp", "dance.mp4",
            "dance.poster.webp\n", "a\\b.poster.webp", "x" * 256 + ".poster.webp")),
    ],
    ids=repr,
)  # fmt: skip
def test_a_preview_that_makes_no_sense_hides_no_purchase(previews: object) -> None:
    """It is passed over, and the receipt is read: no purchase hangs on a picture."""
    (entry,) = parse_receipt(changed([*FIRST, "previews"], previews), "r")
    assert (entry, entry.previews) == (ENTRY, ())


def test_a_sound_preview_among_others_is_read_once() -> None:
    """Previews decide nothing: what is odd about one is passed over, and the first sound one counts."""
    twice = [
        None,
        PREVIEW | {"new": 1},
        PREVIEW | {"role": "later"},
        PREVIEW | {"sha256": "ef" * 32},
    ]
    (entry,) = parse_receipt(changed([*FIRST, "previews"], twice), "r")
    poster = ReceiptOutput("dance.pro.2.poster.webp", Role.POSTER, "cd" * 32, 5, None)
    assert entry.previews == (poster,)


def test_the_longest_name_of_a_preview_is_read() -> None:
    """A preview of the longest name that a file system takes is read back."""
    longest = "x" * 243 + ".poster.webp"
    (entry,) = parse_receipt(changed([*FIRST, "previews"], [PREVIEW | {"path": longest}]), "r")
    assert (len(longest), entry.previews[0].path) == (255, longest)


def test_a_difference_in_sides_or_previews_alone_rewrites_no_receipt() -> None:
    """What an older program wrote, or another machine made, stays as it is in git."""
    known = replace(
        ENTRY,
        outputs=tuple(replace(output, width=720, height=1280) for output in ENTRY.outputs),
        previews=(ReceiptOutput("dance.pro.2.poster.webp", Role.POSTER, "cd" * 32, 5, None),),
    )
    assert merge([ENTRY], [known]) is None
    assert merge([known], [ENTRY]) is None
