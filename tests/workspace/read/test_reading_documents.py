"""Whatever the bytes of a spec are, the outcome is a document with places or one sentence at a place."""

from __future__ import annotations

import os
import random
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.documents import DocumentError, Entry, Limits, Node, Place, plain
from reconciler.workspace.read.formats import _reader as reader_of
from reconciler.workspace.read.formats import parse, read_document
from reconciler.workspace.read.yaml_reader import _sentence as yaml_sentence


def read(tmp_path: Path, content: str | bytes, suffix: str = ".yaml") -> Node:
    path = tmp_path / f"spec{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path, f"specs/spec{suffix}")


def refusal(tmp_path: Path, content: str | bytes, suffix: str = ".yaml") -> str:
    with pytest.raises(DocumentError) as caught:
        read(tmp_path, content, suffix)
    return str(caught.value.problem)


def entry(node: Node, key: str) -> Entry:
    assert isinstance(node.value, dict)
    found = node.value[key]
    assert isinstance(found, Entry)
    return found


@pytest.mark.parametrize(
    ("suffix", "content", "key", "value"),
    [
        (".yaml", "# hello\nmode: pro\nprompt: x\n", Place("specs/spec.yaml", 3, 1), Place("specs/spec.yaml", 3, 9)),
        (".yml", "{mode: pro, prompt: x}", Place("specs/spec.yml", 1, 13), Place("specs/spec.yml", 1, 21)),
        (".json", '{\n  "mode": "pro",\n  "prompt": "x"}', Place("specs/spec.json", 3, 3), Place("specs/spec.json", 3, 13)),
        (".toml", "mode = 'pro'\n\n  prompt  = 'x'", Place("specs/spec.toml", 3, 3), Place("specs/spec.toml", 3, 13)),
        (".YAML", "prompt: x", Place("specs/spec.YAML", 1, 1), Place("specs/spec.YAML", 1, 9)),
        (".yaml", "\ufeffmode: 跳\nprompt: 😀\n", Place("specs/spec.yaml", 2, 1), Place("specs/spec.yaml", 2, 9)),
    ],
)  # fmt: skip
def test_keys_and_values_know_where_they_stand(
    tmp_path: Path, suffix: str, content: str, key: Place, value: Place
) -> None:
    """In every format a problem can be shown at the line and column that an editor shows."""
    found = entry(read(tmp_path, content, suffix), "prompt")
    assert (found.key, found.node.place) == (key, value)


def test_toml_tables_lists_and_long_texts_keep_the_places_of_their_keys(tmp_path: Path) -> None:
    """TOML's longer forms do not move the places of what follows them."""
    document = read(
        tmp_path,
        'prompt = """\nmode = 1\n[x]\n"""\nlist = [\n  1, # ]\n  "]",\n]\n\n[watermark_info]\nenabled = true\n',
        ".toml",
    )
    assert entry(document, "list").key == Place("specs/spec.toml", 5, 1)
    table = entry(document, "watermark_info")
    assert table.key == Place("specs/spec.toml", 10, 2)
    assert entry(table.node, "enabled").node.place == Place("specs/spec.toml", 11, 11)


def test_toml_places_stay_right_below_a_text_that_holds_quotes_and_comments(tmp_path: Path) -> None:
    """A `"`, a `#` or what looks like a key or a table inside a long text moves nothing."""
    text = 'a = """one"two\n# no"""\nb = \'\'\'\n[x]\nc = 1\n\'\'\'\nd = [\n  [1],\n  [2]\n]\nc = """"x""""\n[e]\n c = 2\n'
    document = read(tmp_path, text, ".toml")
    places = {key: (found.key.line, found.key.column) for key, found in document.value.items()}  # type: ignore[union-attr]
    assert places == {"a": (1, 1), "b": (3, 1), "d": (7, 1), "c": (11, 1), "e": (12, 2)}
    assert entry(entry(document, "e").node, "c").node.place == Place("specs/spec.toml", 13, 6)


@pytest.mark.parametrize(
    ("written", "meant", "reason"),
    [
        ("yes", True, "YAML 1.1"),
        ("Off", False, "YAML 1.1"),
        ("y", "y", "not even PyYAML reads it as a boolean"),
        ("~", None, "nothing"),
        ("", None, "nothing"),
        ("829836802793406551", 829836802793406551, "64 bits, exact"),
        ("-9" + "0" * 40, -9 * 10**40, "any size, exact"),
        ("1_000", 1000, "underscores"),
        ("0x1F", 31, "hexadecimal"),
        ("0b101", 5, "binary"),
        ("0b2", "0b2", "no binary digit"),
        ("012", "012", "no octal surprise"),
        ("1:30", "1:30", "no sexagesimal surprise"),
        ("1.5", 1.5, "a number"),
        (".inf", float("inf"), "infinite"),
        ("1e3", "1e3", "YAML 1.1 wants a point"),
        ("2026-11-22", "2026-11-22", "a date stays text"),
        ("2026-11-22 10:00:00", "2026-11-22 10:00:00", "a time too"),
        ("=", "=", "the forgotten default value"),
        ("+", "+", "a sign alone"),
        ("'yes'", "yes", "quoted is text"),
        ("! yes", "yes", "so is a non-specific tag"),
        ("!!str 12", "12", "and an explicit one"),
        ('!!int "12"', 12, "which works both ways"),
        ("|\n  a\n  b\n", "a\nb\n", "a block"),
    ],
)
def test_what_a_yaml_scalar_means(tmp_path: Path, written: str, meant: object, reason: str) -> None:
    """YAML is read as people expect it: exact numbers, no octal, sexagesimal or date surprises."""
    assert plain(read(tmp_path, f"a: {written}\n")) == {"a": meant}, reason


def test_a_toml_date_stays_text(tmp_path: Path) -> None:
    """A date means the same in TOML as in YAML and JSON."""
    assert plain(read(tmp_path, "a = 2026-11-22\nb = 10:00:00", ".toml")) == {
        "a": "2026-11-22",
        "b": "10:00:00",
    }


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_an_empty_file_is_nothing_and_not_an_error(tmp_path: Path, suffix: str) -> None:
    """A file that was just created is no syntax error, in any format."""
    assert plain(read(tmp_path, "", suffix)) in (None, {})


def test_an_alias_stands_where_it_is_used(tmp_path: Path) -> None:
    """A problem in a YAML alias is shown where it was used."""
    document = read(tmp_path, "a: &x [1, 2]\nb: *x\n")
    assert plain(document) == {"a": [1, 2], "b": [1, 2]}
    assert entry(document, "b").node.place == Place("specs/spec.yaml", 2, 4)


@pytest.mark.parametrize(
    ("suffix", "content", "expected", "reason"),
    [
        (".yaml", "a: 1\nb: 2\na: 3\n", "3:1: `a` is written twice; first in line 1", "the later one would win"),
        (".json", '{"a": 1,\n "a": 2}', "2:2: `a` is written twice; first in line 1", "the later one would win"),
        (".toml", "a = 1\na = 2", "2:1: not valid TOML: a key is written twice", "TOML forbids it"),
        (".yaml", "a: 'x\nb: 1\n", "1:4: a quoted text was not closed", "where it was opened"),
        (".yaml", "a: [1, 2\n", "1:4: a list was not closed", "where it was opened"),
        (".yaml", "a: b: c\n", "1:5: a `:` where no key can stand", "a text with a colon"),
        (".yaml", "\ta: 1\n", "1:1: a value cannot begin with this character", "a tab"),
        (".yaml", "a:\n  b: 1\n\tc: 2\n", "3:1: a tab where spaces must indent", "a tab"),
        (".yaml", "a: {{ hero }} waves\n", "1:4: nothing is replaced in a spec", "a template"),
        (".yaml", "a: **bold** text\n", "1:5: a value that begins with `&` or `*`", "Markdown"),
        (".yaml", "a: & more\n", "1:5: a value that begins with `&` or `*`", "an ampersand"),
        (".yaml", "a: !<x\n", "1:4: a value that begins with `!`", "an exclamation mark"),
        (".yaml", "%a\n", "1:1: a line that begins with `%`", "a percent sign"),
        (".yaml", "a: > text\n", "1:6: nothing can follow `|` or `>`", "a quotation mark of mails"),
        (".yaml", "a: - b\n", "1:4: a `-` where no list can begin", "a dash"),
        (".yaml", 'a: "C:\\Users"\n', "1:9: not valid YAML: `\\x` needs two, `\\u` four", "a path of Windows"),
        (".yaml", 'a: "\\q"\n', "1:5: not valid YAML: a backslash that begins no escape", "a backslash"),
        (".yaml", "a: 1\n} b\n", "2:1: a key was expected here", "a bracket too many"),
        (".yaml", "a: 'x\n---\n'\n", "a line that begins with `---`", "a rule in a text"),
        (".toml", "a = [1", "a list was not closed", "broken off"),
        (".toml", "a = b c", "a value was expected here", "a bare word"),
        (".toml", 'a = "b" c', "something follows the value", "two values"),
        (".toml", 'a = "C:\\Users"', "hexadecimal", "a path of Windows"),
        (".toml", "[a\n", "a `]` is missing", "half a table"),
        (".yaml", "a: @x\n", "1:4: a value cannot begin with this character", "a reserved character"),
        (".yaml", "a: 1\n---\nb: 1\n", "2:1: a second document", "a spec is one"),
        (".yaml", "1: x\n", "1:1: a key must be text, not a whole number", "a number as a key"),
        (".yaml", "yes: x\n", "1:1: a key must be text, not yes or no", "a boolean as a key"),
        (".yaml", "? [a]\n: x\n", "1:3: a key must be text, not a list", "a list as a key"),
        (".yaml", "a: &x {b: 1}\n*x : 1\n", "2:1: a key must be text, not a mapping", "through an alias"),
        (".yaml", "a: {<<: {b: 1}}\n", "1:5: `<<` (a YAML merge) is not supported", "defaults do that"),
        (".yaml", "a: !!python/object:os.system x\n", "1:4: the tag `!!python/object:os.system`", "no code"),
        (".yaml", "a: !mine x\n", "1:4: the tag `!mine` is not supported", "no tags of one's own"),
        (".yaml", "a: !!set {b}\n", "1:4: the tag", "no exotic collections"),
        (".yaml", "a: !!int x\n", "1:4: `x` is text, which is not what its tag says", "a tag that lies"),
        (".yaml", "a: *x\n", "1:4: `*x` refers to nothing above it", "an alias of nothing"),
        (".yaml", "a: &x [*x]\n", "1:8: `*x` refers to itself", "a circle"),
        (".yaml", 'a: "\\0"', "1:4: the text holds a NUL character", "no database takes it"),
        (".yaml", "a: \x00", "1:4: the character U+0000", "nor YAML itself"),
        (".yaml", 'a: "\\ud800"', "1:7: not valid YAML", "half a character"),
        (".json", '{"a": "\\ud800"}', "1:7: the text holds half of a surrogate pair", "half a character"),
        (".json", '{"\\u0000": 1}', "1:2: the text holds a NUL character", "also in keys"),
        (".toml", '"\\u0000" = 1', "1:1: the text holds a NUL character", "also in keys"),
        (".json", '{"a": NaN}', "1:7: `NaN` is not a JSON number", "Python would take it"),
        (".json", '{"a": -Infinity}', "1:7: `-Infinity` is not a JSON number", "Python would take it"),
        (".json", '{"a": 1,}', "1:9: not valid JSON: a value was expected before `}`", "a trailing comma"),
        (".json", "{'a': 1}", "1:2: not valid JSON: a key in double quotes", "Python's quotes"),
        (".json", '// x\n{"a": 1}', "1:1: JSON has no comments", "a comment"),
        (".json", '{"a" 1}', "1:6: not valid JSON: a `:` is missing after `a`", "a missing colon"),
        (".json", '{"a": [1 2]}', "1:10: not valid JSON: a `,` or `]` was expected", "a missing comma"),
        (".json", '{"a": tru}', "1:7: not valid JSON: a value cannot begin with `tru`", "a slip"),
        (".json", '{"a": "x\n"}', "1:9: not valid JSON: a line break", "a line break in a text"),
        (".json", '{"a":', "1:6: not valid JSON: the file ends", "broken off"),
        (".json", "{} {}", "1:4: something follows the document", "two documents"),
        (".toml", "a = \n", "1:5: not valid TOML: a value was expected", "a forgotten value"),
        (".toml", "a = 'x", "not valid TOML", "broken off"),
        (".yaml", b"a: 1\nb: caf\xe9\n", "2:7: byte 11 (0xe9) is not UTF-8", "Latin-1"),
        (".json", "{}".encode("utf-16"), "1:1: the file is in UTF-16", "a Windows editor"),
        (".yaml", "a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", "2:1: an unresolved merge conflict (`<<<<<<<`)", "a merge was left"),
        (".yaml", "a: 1\r\n<<<<<<< a\r\nb: 1\r\n||||||| b\r\nb: 0\r\n=======\r\nb: 2\r\n>>>>>>> c\r\n", "2:1: an unresolved merge conflict (`<<<<<<<`)", "with Windows line ends, and the ancestor"),
        (".toml", 'a = """\n<<<<<<< a\nx\n=======\ny\n>>>>>>> b\n"""', "2:1: an unresolved merge conflict (`<<<<<<<`)", "git met two prompts"),
        (".json", '{\n<<<<<<< a\n"b": 1\n=======\n"b": 2\n>>>>>>> c\n}', "2:1: an unresolved merge conflict (`<<<<<<<`)", "in any format"),
        (".json", '{\n=======\n"a": 1}', "2:1: an unresolved merge conflict (`=======`)", "half of it was left"),
        (".toml", "a = 1\n>>>>>>> x\n", "2:1: an unresolved merge conflict (`>>>>>>>`)", "half of it was left"),
        (".yaml", "a: 1\n=======\nb: 2\n", "2:1: an unresolved merge conflict (`=======`)", "half of it was left"),
        (".yaml", 'a: [\nb: "\n=======\n"\n', "1:4: a list was not closed", "a fault above such a line is the fault"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_a_sentence_at_its_place(
    tmp_path: Path, suffix: str, content: str | bytes, expected: str, reason: str
) -> None:
    """Each kind of broken file gets a plain sentence at the place of the mistake."""
    assert expected in refusal(tmp_path, content, suffix), reason


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".toml", 'a = """\nTitle\n=======\n"""'),
        (".toml", 'a = """\n<<<<<<< HEAD\n"""'),
        (".toml", 'a = """\n>>>>>>> x\n=======\n<<<<<<< x\n"""'),
        (".yaml", "a: |\n  <<<<<<< HEAD\n  =======\n  >>>>>>> x\n"),
        (".yaml", "a: 'Title\n=======\nand more'\n"),
        (".yaml", "a: |\n  Title\n  =======\n"),
        (".yaml", "# <<<<<<< HEAD\n# =======\n# >>>>>>> x\na: 1\n"),
    ],
)
def test_what_only_looks_like_a_part_of_a_merge_conflict_may_stand_in_a_text(
    tmp_path: Path, suffix: str, content: str
) -> None:
    """Lines of `=` or `<` in prompts and comments are not taken for a conflict."""
    assert plain(read(tmp_path, content, suffix))


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
NESTED_ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    ("suffix", "content", "expected", "reason"),
    [
        (".yaml", LAUGHS, "too many values", "a billion laughs"),
        (".yaml", f"a: &a {'x' * 60_000}\nb: [{'*a, ' * 5_000}]\n", "too many values", "a long text many times"),
        (".yaml", NESTED_ALIASES, "nested too deeply", "depth through aliases"),
        (".yaml", "[" * 100_000, "nested too deeply", "brackets"),
        (".yaml", "- " * 100_000, "nested too deeply", "dashes"),
        (".yaml", "{a: " * 100_000, "nested too deeply", "braces"),
        (".json", "[" * 100_000, "nested too deeply", "brackets"),
        (".json", '{"a":' * 100_000, "nested too deeply", "braces"),
        (".toml", "a = " + "[" * 50_000, "nested too deeply", "brackets"),
        (".toml", "a.b" * 20_000 + " = 1", "nested too deeply", "a dotted key"),
        (".toml", "a." * 500_000 + "b = 1", "spec is a small text", "an endless dotted key"),
        (".toml", "a = [{" + "a . " * 15_000 + "b = 1}]", "nested too deeply", "in an inline table"),
        (".toml", "a" * 65_000, "not valid TOML", "one endless word"),
        (".toml", "[" + "a." * 30_000 + "b]", "nested too deeply", "an endless header"),
        (".yaml", "[" + "x, " * 20_000 + "]", "too many values", "a huge list"),
        (".json", "[" + "1," * 20_000 + "1]", "too many values", "a huge list"),
        (".toml", "a = [" + "1," * 20_000 + "1]", "too many values", "a huge list"),
        (".yaml", "a: " + "9" * 60_000, "60,000 digits", "a number that takes quadratic time"),
        (".json", "[" + "9" * 60_000 + "]", "60,000 digits", "a number that takes quadratic time"),
        (".toml", "a = " + "9" * 60_000, "digits", "a number that takes quadratic time"),
        (".yaml", "a: 0x" + "f" * 60_000, "60,000 digits", "in any base"),
        (".yaml", "a: [0x" + "f" * 60_000 + "g, @]", "1:60010: a value cannot begin", "what only looks like a number"),
        (".yaml", "".join(f"%TAG !{n}! x\n" for n in range(60_000)) + "---\na: 1", "11:1: more than 10 lines begin with `%TAG`", "directives"),
        (".yaml", "a: 1\r...\r" + "".join(f"%TAG !{n}! x\r" for n in range(60_000)) + "---\r", "13:1: more than 10", "of a second document"),
        (".toml", '"\\""' + '."\\""' * 13_000 + " = 1", "a key of 50 parts", "an endless dotted key with escapes"),
        (".yaml", "a: " + "x" * 70_000, "70,000 characters", "an image written out"),
        (".yaml", "#" * (1024 * 1024 + 1), "larger than 1024 KiB", "not a small text"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_bomb_is_refused_in_no_time(
    tmp_path: Path, suffix: str, content: str, expected: str, reason: str
) -> None:
    """No file makes a plan slow: depth, size, digits and aliases are bounded, in each format."""
    before = time.process_time()
    assert expected in refusal(tmp_path, content, suffix), reason
    assert time.process_time() - before < 2, reason


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """Pipes, devices, folders and links to nothing are named as such and hold up nothing."""
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "broken.yaml").symlink_to("nowhere")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name, words in [
        ("fifo.yaml", "is not a plain file"),
        ("folder.yaml", "is a folder"),
        ("broken.yaml", "is a link to nothing"),
        ("circle.yaml", "go in a circle"),
        ("zero.yaml", "is not a plain file"),
        ("missing.yaml", "does not exist"),
    ]:
        with pytest.raises(DocumentError, match=words):
            read_document(tmp_path / name, name)


def test_a_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spec that may not be read is a problem of that spec, said as one."""
    (tmp_path / "a.yaml").write_text("a: 1")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root, who runs containers, is refused nothing
    with pytest.raises(DocumentError, match="permission is denied"):
        read_document(tmp_path / "a.yaml", "a.yaml")


GARBAGE = st.binary(max_size=200) | st.text(max_size=100).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
SYNTAX = st.lists(
    st.sampled_from(
        ["a", "b: ", "- ", "? ", ": ", "[", "]", "{", "}", ",", "&a ", "*a ", "!!x ", "!", "|\n", ">", "'", '"', "\\", "#",
         "\n", "  ", "\t", "---\n", "...\n", "%", "@", "=", "[[", "]]", '"""', "'''", ".", "1", "true", "\\u", "é", "\r\n"]
    ),
    max_size=30,
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
@settings(
    max_examples=300,
    deadline=timedelta(seconds=2),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=GARBAGE | SYNTAX)
def test_any_bytes_give_a_document_or_a_document_error(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    """Nothing that stands in a spec ends a run: it is read, or refused at a place."""
    problem = None
    try:
        repr(plain(read(tmp_path, content, suffix))).encode()
    except DocumentError as error:
        problem = error.problem
    if problem is not None:
        assert min(problem.place.line, problem.place.column) >= 1
        str(problem).encode()


# How the libraries speak: libyaml, Python's json and tomllib.
LIBRARY = re.compile(
    r"did not find|could not find|\bfound\b|while (?:scanning|parsing)|allowed in this context|expected <"
    r"|[Cc]annot (?:declare|mutate|overwrite|redefine)|[Uu]nclosed|[Ii]llegal|[Uu]nterminated|Expecting|[Ii]nvalid \w"
    r"|octet|indicator|token|namespace|statement|hexdecimal"
)
WHOLE = {
    ".yaml": "# x\nprompt: 'a: \"b\"' # c\nmatrix:\n  mode: [std, pro]\nelement_list:\n  - {element_id: 12}\ntext: |\n  one\n  two\n'q': \"\\u00e9\"\n",
    ".json": '{"prompt": "a\\n\\u00e9", "matrix": {"mode": ["std", "pro"]}, "takes": 2, "x": null}\n',
    ".toml": 'prompt = \'a\' # c\ntext = """\none\n"""\nx = 2026-11-02\n[matrix]\nmode = ["std", \'pro\']\n[[element_list]]\nelement_id = 12\ny = {a = 1}\n',
}
BREAKS = ["'", '"', "\t", "\n", "[", "]", "{", "}", ": ", "- ", "? ", "& ", "*", "!", "!<", "%", "%YAML 1.x\n", "%TAG\n", "@", "`", "|", "|0", ">x", "\\", "\\q", "\\x0", "\\ud800", "---\n", "...\n", "#", ",", "=", ".", "1", "\n\t", "\n  ", "\x01", "<<: ", "!!x ", "!a%zz "]  # fmt: skip


@pytest.mark.parametrize("suffix", WHOLE)
def test_no_message_of_a_library_reaches_a_person(suffix: str) -> None:
    """However a text is damaged, the sentence is ours: several hundred texts for each format."""
    draw, whole, said = random.Random(16), WHOLE[suffix], set()
    for number in range(700):
        at = draw.randrange(len(whole))
        text = whole[:at] + draw.choice(BREAKS) + whole[at + draw.choice([0, 0, 1, 3]) :]
        if number % 3 == 0:
            text = text[: draw.randrange(len(text))]
        try:
            parse(text.encode(), f"x{suffix}", reader_of(suffix), Limits())
        except DocumentError as error:
            said.add(error.problem.message)
    assert [message for message in said if LIBRARY.search(message)] == []
    assert len(said) > 10


LIBYAML = [  # context, problem: what its scanner and parser can say, from its sources
    *(("while scanning a directive", words) for words in (
        "could not find expected directive name", "found unexpected non-alphabetical character", "found unknown directive name",
        "did not find expected comment or line break",
    )),
    *(("while scanning a %YAML directive", words) for words in (
        "did not find expected whitespace", "did not find expected version number",
        "did not find expected digit or '.' character", "found extremely long version number",
    )),
    *(("while scanning a %TAG directive", words) for words in (
        "did not find expected whitespace", "did not find expected whitespace or line break",
    )),
    *(("while parsing a tag", words) for words in (
        "did not find expected '!'", "did not find URI escaped octet", "did not find expected tag URI",
        "found an incorrect leading UTF-8 octet", "found an incorrect trailing UTF-8 octet",
    )),
    *(("while scanning a tag", words) for words in ("did not find the expected '>'", "did not find expected whitespace or line break")),
    ("while scanning an anchor", "did not find expected alphabetic or numeric character"),
    ("while scanning an alias", "did not find expected alphabetic or numeric character"),
    *(("while scanning a block scalar", words) for words in (
        "found an indentation indicator equal to 0", "did not find expected comment or line break",
        "found a tab character where an indentation space is expected",
    )),
    *(("while scanning a quoted scalar", words) for words in (
        "found unexpected document indicator", "found unexpected end of stream", "found unknown escape character",
    )),
    *(("while parsing a quoted scalar", words) for words in ("did not find expected hexdecimal number", "found invalid Unicode character escape code")),
    *(("while scanning a plain scalar", words) for words in ("found a tab character that violates indentation", "found unexpected ':'")),
    ("while scanning a simple key", "could not find expected ':'"),
    ("while scanning for the next token", "found character that cannot start any token"),
    *((None, words) for words in (
        "block sequence entries are not allowed in this context", "mapping keys are not allowed in this context",
        "mapping values are not allowed in this context", "did not find expected <document start>",
        "found duplicate %YAML directive", "found incompatible YAML document", "found duplicate %TAG directive",
    )),
    ("while parsing a node", "found undefined tag handle"),
    *((f"while parsing a {kind} node", "did not find expected node content") for kind in ("block", "flow")),
    ("while parsing a block collection", "did not find expected '-' indicator"),
    ("while parsing a block mapping", "did not find expected key"),
    ("while parsing a flow sequence", "did not find expected ',' or ']'"),
    ("while parsing a flow mapping", "did not find expected ',' or '}'"),
]  # fmt: skip


@pytest.mark.parametrize(("context", "problem"), LIBYAML)
def test_every_message_of_the_yaml_library_has_a_sentence_of_its_own(
    context: str | None, problem: str
) -> None:
    """None falls through to the general one."""
    sentence = yaml_sentence(yaml.MarkedYAMLError(context, None, problem, None))
    assert sentence != yaml_sentence(yaml.MarkedYAMLError(None, None, "something new", None))
    assert not LIBRARY.search(sentence)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("prompt: slow turn, hair moves #2 take, keep the face\n", "1:31"),
        ("prompt: slow turn # a remark\n", "1:19"),
        ("prompt: #2 take\n", "1:9"),
        ("prompt:\n  slow\n  turn #2\n", "3:8"),
        ("prompt: slow turn,\n  #2 take\nmode: std\n", "2:3"),
        ("prompt: é😀 #2\r\n", "1:12"),
        ("prompt: &a slow #2\n", "1:17"),
        ("prompt: !!str slow #2\n", "1:20"),
        ("prompt: 'slow #2' # a remark\n", ""),
        ('prompt: "slow" # a remark\n', ""),
        ("prompt: |  # a remark\n  slow #2\n", ""),
        ("prompt: slow#2\n", ""),
        ("prompt: slow\n# a remark\nmode: std\n", ""),
        ("prompt: slow\n\n  # a remark\nmode: std\n", ""),
        ("prompt: # a remark\n  slow\n", ""),
    ],
)
def test_a_comment_that_ends_an_unquoted_text_is_known(
    tmp_path: Path, text: str, place: str
) -> None:
    """Where the `#` may have been meant as text, the value says where it stands; where it cannot, it says nothing."""
    cut = entry(read(tmp_path, text), "prompt").node.cut
    assert str(cut or "").removeprefix("specs/spec.yaml:") == place
