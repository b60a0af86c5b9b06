"""Specs and defaults of every format, as nobody would write them: each is a sentence, and the good spec still plans."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example
from hypothesis import strategies as st

from tests.fuzz.commands import said
from tests.fuzz.damage import bytes_of, damaged
from tests.fuzz.profile import fuzz
from tests.support.project import spec_text

GOOD = spec_text(prompt="the good one")
TOML = b"""\
image_url = "https://example.com/girl.png"
video_url = "https://example.com/dance.mp4"
prompt = '''a
dance'''
character_orientation = "image"
mode = "std"
takes = 2
[watermark_info]
enabled = true
[matrix]
mode = ["std", "pro"]
[[element_list]]
element_id = 829836802793406551
"""
YAML = b"""\
kind: motion-control
image_url: &girl https://example.com/girl.png
video_url: https://example.com/dance.mp4
prompt: |
  a dance
  of two
character_orientation: video
mode: "std"
keep_original_sound: yes
element_list: [{element_id: 829836802793406551}]
watermark_info: {enabled: true}
retries: 1
takes: 2
matrix:
  mode: [std, pro]
  image_url: [*girl, https://example.com/boy.png]
"""
DOCUMENT = {
    "image_url": "https://example.com/girl.png",
    "video_url": "https://example.com/dance.mp4",
    "prompt": "跳舞 — café",
    "character_orientation": "image",
    "mode": "std",
    "takes": 2,
    "matrix": {"mode": ["std", "pro"]},
    "watermark_info": {"enabled": True},
}
JSON = json.dumps(DOCUMENT).encode()
DEEP = 30_000
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9))
    for name in range(ord("b"), ord("k"))
)

FOREIGN = bytes_of(
    b"\0", b"\t", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\x1b[2J", b"[bold]", b"[/]", b"---\n", b"...\n", b"%YAML 9.9\n", b"<<: *x\n",
    b"&a ", b"*a", b"&girl [*girl]", b"!!python/object/apply:os.system [id]\n", b"!!binary aGk=", b"? ", b"? [a]\n: b\n",
    b"{", b"}", b"[", b"]", b'"', b"'", b"'''", b'"""', b"#", b": ", b"- ", b"|2-", b">", b"@", b"`",
    b"<<<<<<< HEAD\n", b"=======\n", b">>>>>>> theirs\n", b"1e999", b"-1e-999", b".nan", b".inf", b"1:30", b"0o17",
    b"0x1F", b"9" * 70, b"9" * 5000, b"0x" + b"f" * 5000, b"x" * 5000, b"k" * 70_000, b"[" * DEEP, b"{" * 900,
    b'{"a":' * 900, b"a." * 60, b"- " * 400, b"null", b"true", b"2026-11-25", b"2026-11-25T10:00:00Z", b"1979-05-27 07:32:00.999999999999",
    b"takes: 99999999\n", b"takes = 99999999\n", b"retries: -1\n", b"suspend: true\n", b"../../etc/passwd", b"/dev/zero",
    b"/dev/stdin", b"file:///etc/passwd", b"http://[::1", b"https://\xf0\x9f\x92\x83.example/", b"external_task_id: ../x\n",
    b"prompt: again\n", b"mode: std\n", b"matrix: {takes: [1, 2]}\n", b"matrix: {prompt: [" + b"a," * 3000 + b"b]}\n",
)  # fmt: skip

WEIRD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["std", "image", "", ".", "..", "../x.png", "x\0y", "https://a/b", 10**400, "é" * 3000]
    )
    | st.sampled_from(
        [["std", "pro"], [["std"]], {"": ""}, {"enabled": "maybe"}, [{"element_id": 1}] * 2]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [*DOCUMENT, "kind", "keep_original_sound", "element_list", "callback_url", "retries", "suspend", "model_name",
     "external_task_id", "Mode", "promt", "a" * 300, "[b]x[/b]", "é\u202e", ""]
)  # fmt: skip
WISHES = st.dictionaries(KEYS, WEIRD, max_size=6).map(lambda odd: {**DOCUMENT, **odd})


def _toml(value: Any) -> str:
    """Write a value as TOML would; what TOML cannot say is left as a mistake in the text."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(key))} = {_toml(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


FORMATS: dict[str, tuple[bytes, Any]] = {
    ".yaml": (
        YAML,
        lambda wish: json.dumps(wish, ensure_ascii=False).encode("utf-8", "surrogatepass"),
    ),
    ".json": (JSON, lambda wish: json.dumps(wish).encode()),
    ".toml": (
        TOML,
        lambda wish: "\n".join(
            f"{json.dumps(key)} = {_toml(value)}" for key, value in wish.items()
        ).encode(),
    ),
}


def texts(suffix: str) -> st.SearchStrategy[bytes]:
    """Give files of a format: odd wishes, whole ones after some damage, and noise."""
    whole, write = FORMATS[suffix]
    wishes = WISHES.map(write)
    return st.one_of(
        wishes,
        damaged(st.just(whole) | wishes, FOREIGN),
        damaged(st.just(whole), FOREIGN),
        st.lists(FOREIGN, max_size=6).map(b"".join),
        st.just(whole).map(lambda data: data.decode().encode("utf-16")),
        st.binary(max_size=200),
    )


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder with one good spec, and one below a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-specs-") as folder:
        for name in ("specs/good.yaml", "specs/below/good.yaml"):
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(GOOD if name == "specs/good.yaml" else GOOD.replace("good", "deep"))
        yield Path(folder)


def checked(root: Path, files: dict[str, bytes]) -> None:
    """Put files into the folder, and look at what the commands make of them."""
    for name, data in files.items():
        (root / name).write_bytes(data)
    try:
        planned = said(root, "plan", "--json")
        assert planned.code == 0, planned
        actions = planned.document["actions"]
        assert "submit" in {a["action"] for a in actions if a["spec"] == "specs/good.yaml"}
        found = said(root, "validate", "--json")
        errors = found.document["errors"]
        assert found.code == (1 if errors else 0)
        assert {error["file"] for error in errors} <= {*files, "specs/below/good.yaml"}
        assert len(found.out) < 50_000 * len(files)
        said(root, "plan")
    finally:
        for name in files:
            (root / name).unlink()


def many(suffix: str) -> st.SearchStrategy[list[bytes]]:
    """Give several files of a format, to be looked at together."""
    return st.lists(texts(suffix), min_size=1, max_size=12)


def named(suffix: str, files: list[bytes]) -> dict[str, bytes]:
    """Return the files by name."""
    return {f"specs/bad{number}{suffix}": data for number, data in enumerate(files)}


@fuzz("specs", 30, files=many(".yaml"))
@example(files=[BOMB])
@example(files=[b"[" * DEEP])
@example(files=[b"? " * 5000])
@example(files=[b"prompt: &a [*a]\n"])
def test_any_yaml_is_a_spec_or_a_sentence(root: Path, files: list[bytes]) -> None:
    """Whatever a `.yaml` file holds, every command ends as documented, and the good spec is planned."""
    checked(root, named(".yaml", files))


@fuzz("specs", 25, files=many(".json"))
@example(files=[b'{"a":' * DEEP])
@example(files=[b"[" * DEEP])
@example(files=[b'{"takes": ' + b"9" * 100_000 + b"}"])
@example(files=[b'{"prompt": "\\ud800"}'])
def test_any_json_is_a_spec_or_a_sentence(root: Path, files: list[bytes]) -> None:
    """The same of a `.json` file."""
    checked(root, named(".json", files))


@fuzz("specs", 25, files=many(".toml"))
@example(files=[b"a = " + b"[" * DEEP])
@example(files=[b"a." * 20_000 + b"b = 1"])
@example(files=[b"a = " + b"9" * 10_000])
@example(files=[b"a = {b = " * 900])
def test_any_toml_is_a_spec_or_a_sentence(root: Path, files: list[bytes]) -> None:
    """The same of a `.toml` file."""
    checked(root, named(".toml", files))


@fuzz("defaults", 60, data=texts(".yaml"))
@example(data=BOMB)
def test_any_defaults_concern_only_what_lies_below(root: Path, data: bytes) -> None:
    """Whatever `_defaults.yaml` of a folder holds, the specs beside that folder are planned."""
    checked(root, {"specs/below/_defaults.yaml": data})
