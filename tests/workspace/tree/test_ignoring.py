"""`.reconcilerignore` leaves out what git would, never a receipt, and says where it cannot be understood."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from reconciler.core.documents import Node, Place
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.read.loader import DefaultsFiles
from reconciler.workspace.tree.ignoring import IGNORE_FILE, Ignoring
from reconciler.workspace.tree.walk import Tree
from tests.workspace.builders import SPEC, Project

URLS = SPEC.replace("../assets", "https://e.com")


def said_by_git(root: Path, names: list[str], lines: list[str]) -> set[str]:
    """Return which of these names git ignores by these patterns."""
    (root / ".git" / "info" / "exclude").write_text("\n".join(lines) + "\n")
    command = ["git", "-C", str(root), "check-ignore", "--no-index", "-z", "--stdin"]
    asked = subprocess.run(command, input="\0".join(names).encode(), capture_output=True)  # noqa: PLW1510
    assert asked.returncode in {0, 1}, asked.stderr
    return set(filter(None, asked.stdout.decode().split("\0")))


PARTS = ["a", "b", "ab", "specs", "x.yaml", "y.yaml", "*", "**", "?", "*.yaml", "[ab]", "a*", "[!a]", "\\*"]  # fmt: skip
RARER = ["***", "a**", "*a*", "**.yaml", "?*", "[^b]*", "[a-c]", "[]x]", "[\\]b]", "[*].yaml", "x.[!a-w]aml", "\\x.yaml", "[a-]b", "*?*.*", ""]  # fmt: skip
NAMES = [
    "/".join(parts)
    for parts in (
        ("x.yaml",), ("specs", "x.yaml"), ("specs", "a", "x.yaml"), ("specs", "a", "b", "y.yaml"),
        ("specs", "b", "a", "x.yaml"), ("specs", "ab", "x.yaml"), ("a", "a", "a.yaml"), ("specs", "*.yaml"),
    )
]  # fmt: skip


def test_it_leaves_out_what_git_would(tmp_path: Path) -> None:
    """Whatever the patterns and their order are, git and we agree about every file, folders above it included."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    fixed = [
        ["*", "!*/", "!*.yaml"], ["/*", "!/specs/"], ["a/", "!x.yaml"], ["specs/a/**", "!specs/a/x.yaml"],
        ["*.yaml", "!a/"], ["**/a/", "!specs/a/b/"], ["x.yaml", "!/x.yaml"], ["specs/**/y.yaml"], ["*/", "!specs/"],
        ["specs/a/", "!b"], ["specs/**/"], ["!*.yaml", "*/[ab]/**/"],
    ]  # fmt: skip
    draw = random.Random(16)
    drawn = [
        [
            draw.choice(["", "", "!"])
            + draw.choice(["", "", "/"])
            + "/".join(draw.choices(PARTS, k=draw.choice([1, 1, 2, 3])))
            + draw.choice(["", "", "/"])
            for _ in range(draw.randint(1, 4))
        ]
        for _ in range(80)
    ]
    drawn += [
        ["*.yaml"] * draw.randint(0, 1)
        + ["!" * draw.randint(0, 1) + "/".join(draw.choices(PARTS + RARER, k=draw.choice([1, 2, 3, 5]))) + draw.choice(["", "/", "  "])]
        for _ in range(120)
    ]  # fmt: skip
    for lines in (*fixed, *drawn):
        if not all(line.strip("!/ ") for line in lines):
            continue  # a line that names nothing
        (tmp_path / IGNORE_FILE).write_text("\n".join(lines))
        ignoring = Ignoring.read(tmp_path)
        assert ignoring.problem is None, lines
        expected = said_by_git(tmp_path, NAMES, lines)
        assert {name for name in NAMES if ignoring.ignores(name)} == expected, lines


def test_what_is_ignored_is_no_spec_no_default_and_no_problem_but_a_receipt_is_read(
    project: Project,
) -> None:
    """Files of other tools are passed over wherever they lie; what remembers a purchase never is."""
    project.write("specs/dance.yaml", URLS)
    for name in (
        "README.yaml",
        "dance.info.json",
        "old/v.yaml",
        "old/_defaults.yml",
        "old/a\x01.json",
        "d.ymal",
    ):
        project.write(f"specs/{name}", "mode: [")
    project.write("specs/old/v.receipt.json", "{}")
    project.write("specs/dance.receipt.json", "{}")
    project.write(IGNORE_FILE, "README.*\r\n# of a downloader\n\n*.info.json\nold/\n*.ymal\n*.receipt.json\n")  # fmt: skip
    desired = project.load()
    assert desired.specs == ("specs/dance.yaml",)
    assert not desired.problems
    assert not desired.notes
    assert set(desired.receipts) == {"specs/old/v.receipt.json", "specs/dance.receipt.json"}


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"a\n\n!\n", 3, "it names nothing"),
        (b"a\nb\\\n", 2, "ends in a `\\`"),
        (b"# x\n[z-a]\n", 2, "brackets"),
        (b"[abc\n", 1, "`[` is not closed"),
        (b"[[:alpha:]]\n", 1, "`[:alpha:]` are not supported"),
        (b"a\x00b\n", 1, "control character"),
        (b"a\n\xff\n", 2, "not UTF-8"),
        (b"\xff\xfea\x00", 1, "not UTF-8"),
        (b"a\n" + b"[a]b[c]\n" * 51, 52, "more than 100 brackets"),
        (b"x\n" * 40_000, 1, "larger than"),
        (None, 1, "not a plain file"),
    ],
)
def test_a_line_that_is_no_pattern_is_an_error_and_nothing_is_bought(
    project: Project, content: bytes | None, line: int, words: str
) -> None:
    """File and line are named; until it is mended every spec is seen, and none is bought."""
    project.write("specs/dance.yaml", URLS)
    if content is None:
        (project.root / IGNORE_FILE).mkdir()
    else:
        project.write(IGNORE_FILE, content)
    desired = project.load()
    (problem,) = desired.problems
    assert str(problem).startswith(f"{IGNORE_FILE}:{line}:")
    assert words in str(problem)
    assert str(problem) in desired.held_back["specs/dance.yaml"]
    assert [wish.spec for wish in desired.generations] == ["specs/dance.yaml"]


def test_an_ignore_file_that_leads_out_of_the_project_is_not_read(
    project: Project, tmp_path: Path
) -> None:
    """A link says nothing about what lies outside."""
    project.write("specs/dance.yaml", URLS)
    (project.root / IGNORE_FILE).symlink_to(tmp_path / "elsewhere")
    assert "leads out of the project" in project.problems()[0]


@pytest.mark.parametrize(
    ("names", "lines", "held", "reason"),
    [
        (["v.yaml", "v 2.yaml"], "", ["v 2.yaml"], "the original is there"),
        (["v.yml", "v 2.yaml"], "", ["v 2.yaml"], "in whatever format"),
        (["v 2.yaml", "w.yaml"], "", [], "it may be its own name"),
        (["x/v.yaml", "v 2.yaml"], "", [], "the original lies elsewhere"),
        (["v (conflicted copy).yaml"], "", ["v (conflicted copy).yaml"], "the name says it"),
        (["v.yaml", "v 2.yaml"], "!v 2.yaml", [], "it is wanted"),
        (["v.yaml", "v 2.yaml"], "*.yaml\n!*.yaml", ["v 2.yaml"], "a pattern about all says nothing about copies"),
        (["v.yaml", "v 2.yaml"], "/*\n!/specs/", ["v 2.yaml"], "nor does one about a folder"),
        (["v.yaml", "v (1).yaml", "v (2).yaml"], "!v (1).yaml", ["v (2).yaml"], "one copy of two"),
        (["v.yaml", "v [conflict].yaml"], "!v \\[conflict\\].yaml", [], "as the sentence writes it"),
        (["v.yaml", "v 2.yaml"], "v.yaml", [], "without its original it is a spec like others"),
    ],
)  # fmt: skip
def test_a_copy_is_held_back_unless_a_line_asks_for_it(
    project: Project, names: list[str], lines: str, held: list[str], reason: str
) -> None:
    """What a synchronising program made is valid, and not bought; the sentence says what to do."""
    for name in names:
        project.write(f"specs/{name}", URLS + f"prompt: {name.replace('[', '')!r}\n")
    project.write(IGNORE_FILE, lines)
    desired = project.load()
    assert not desired.problems
    assert list(desired.held_back) == [f"specs/{name}" for name in held], reason
    for name in held:
        escaped = name.replace("[", "\\[").replace("]", "\\]")
        assert f"`!{escaped}`" in desired.held_back[f"specs/{name}"]


@pytest.mark.parametrize(
    "name",
    ["_defaults 2.yaml", "_defaults.sync-conflict-20261102-103000-ABCDEFG.yaml", "_Defaults (1).json", "v.receipt 2.json", "v.receipt (conflicted copy).json"],
)  # fmt: skip
def test_a_copy_of_defaults_or_of_a_receipt_is_no_spec(project: Project, name: str) -> None:
    """It is named, whatever it holds, wants nothing, and holds up nobody else."""
    project.write("specs/dance.yaml", URLS)
    project.write(f"specs/{name}", URLS if name.endswith(".yaml") else "{}")
    desired = project.load()
    assert [wish.spec for wish in desired.generations] == ["specs/dance.yaml"]
    assert "it is not read" in str(desired.problems[0])


def test_whatever_its_bytes_are_it_has_patterns_or_a_sentence(project: Project) -> None:
    """Hundreds of files of signs that mean something: none raises, and each is about every file in some way."""
    draw = random.Random(31)
    signs = [*b"*?[]!/\\#ab. \t\r\n-^:{}()|+$", 0xFF, 0xC3, 0xA9, 0x00]
    for _ in range(400):
        content = bytes(draw.choices(signs, k=draw.randint(1, 12)))
        (project.root / IGNORE_FILE).write_bytes(content)
        ignoring = Ignoring.read(project.root)
        ignored = [ignoring.ignores(name) for name in ("specs/a.yaml", "a/b/[a].yaml")]
        assert ignoring.problem is None or not any(ignored), content


def test_no_pattern_keeps_the_program_busy(project: Project) -> None:
    """As many patterns as fit into the file, each trying many ways to fit, and names as long as they can be."""
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 80)))
    names = [f"specs/{'a' * 240}.yaml", f"specs/{'a/' * 2000}x.yaml", f"specs/{letters}.yaml"]
    patterns = ["*a*a*a*a*b\n", "specs/**/a/**/a/**/a/**/z\n", "[!a]*[!b]*[!c]*z\n" * 33 + "b\n"]
    for pattern in patterns:
        project.write(IGNORE_FILE, pattern * (1 if "[" in pattern else 65_000 // len(pattern)))
        before = time.process_time()
        ignoring = Ignoring.read(project.root)
        assert ignoring.problem is None
        assert not any(ignoring.ignores(name) for name in names)
        assert time.process_time() - before < 4


def test_folders_may_lie_in_one_another_as_deep_as_a_path_is_long() -> None:
    """Neither the ignore file nor the defaults ask for one folder after the other by going deeper themselves."""
    deep = "specs" + "/a" * 2000
    files = DefaultsFiles(Tree(folder="specs"), lambda name: Node(None, Place(name)), {})
    assert files.of(deep).problems == ()
    assert files.chain(deep) == ()


def test_a_misspelt_name_is_noted_beside_no_spec_of_that_name(project: Project) -> None:
    """A spec that nobody reads is mentioned with the name it was meant to have; a copy beside the spec is not."""
    for name in (
        "dance.yaml.txt",
        "wave.ymal",
        "turn.yml",
        "turn.yaml.txt",
        "clip.mp4",
    ):
        project.write(f"specs/{name}", URLS)
    notes = project.load().notes
    assert [note.partition(" ")[0] for note in notes] == [
        "`specs/dance.yaml.txt`",
        "`specs/wave.ymal`",
    ]
    assert "rename it to `dance.yaml`" in notes[0]


def test_an_index_follows_every_edit_of_the_ignore_file(project: Project) -> None:
    """What appears, changes, breaks, is mended and goes again is seen by its name, and found where nobody told."""
    for name in ("a.yaml", "a 2.yaml", "old/b.yaml", "dance.ymal"):
        project.write(f"specs/{name}", URLS + f"prompt: {name}\n")
    project.write("specs/old/_defaults.yaml", "mode: std\n")
    index = SpecIndex(project.root, "specs", prices=UNITS_PER_SECOND)
    steps = ["old/\n", "old/\n*.ymal\n", "!a 2.yaml\n", "[z-a]\n", "specs/a*\n", "", None, "*\n"]
    for step in steps:
        if step is None:
            project.remove(IGNORE_FILE)
        else:
            project.write(IGNORE_FILE, step)
        assert index.ignoring_moved()
        assert not index.ignoring_moved()
        assert IGNORE_FILE in index.snapshot().strays()
        assert not any(map(index.is_as_read, index.specs))
        index.refresh([IGNORE_FILE])
        assert index.desired() == project.load(), step
        held = {spec: index.held_back(spec) for spec in index.specs if index.held_back(spec)}
        assert held == project.load().held_back
        assert list(index.notes()) == list(project.load().notes)
        assert all(map(index.is_as_read, index.specs))


def test_a_copy_follows_its_original(project: Project) -> None:
    """Where the original comes or goes, its copies are looked at again at once."""
    project.write("specs/v 2.yaml", URLS)
    index = SpecIndex(project.root, "specs", prices=UNITS_PER_SECOND)
    assert index.concerned(["specs/v.yaml"]) == {"specs/v 2.yaml"}
    project.write("specs/v.yaml", URLS)
    index.refresh(["specs/v.yaml"])
    assert index.held_back("specs/v 2.yaml")
    project.remove("specs/v 2.yaml")
    index.refresh(["specs/v 2.yaml"])
    assert index.concerned(["specs/v.yaml"]) == {"specs/v.yaml"}
