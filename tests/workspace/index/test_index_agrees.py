"""Whatever is edited, and however the index hears of it, it says what a fresh load says, and tells what changed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reconciler.core.generations import Generation
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.read.loader import Desired, load
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from tests.workspace.builders import make_video

FOLDERS = ("specs", "specs/x", "specs/x/y", "specs/z", "shared")
OTHER_FOLDERS = ("assets", "real", "specs/.hidden", "specs/w.yaml")
SPEC_FILES = (
    "a.yaml",
    "A.yml",
    "b.yaml",
    "b.json",
    "a.std.yaml",
    "a 2.yaml",
    "b (conflicted copy).yaml",
    "line\nbreak.yaml",
)
OTHER_FILES = (
    "_defaults.yaml", "_defaults.yml", "_Defaults.yaml", "a.receipt.json", "girl.png", "girls.png",
    "a.mp4", "b.mp4", "notes.txt", ".a.yaml", "_defaults 2.yaml", "_defaults.ymal", "a.ymal",
)  # fmt: skip
VIDEO = "https://e.com/dance.mp4"
COMPLETE = {"video_url": VIDEO, "character_orientation": "image", "mode": "std"}
MATRIX = {"matrix": {"mode": ["std", "pro"]}}
WISHES = st.builds(
    lambda media, words: {**media, **words},
    st.sampled_from(
        [
            *[{"image_url": "https://e.com/i.png"}] * 4,
            {"image_url": "ASSETS/girl.png"},
            {"image_url": "girl.png"},
            {"image_url": "gril.png"},
            {"video_url": "a.mp4", "image_url": "https://e.com/i.png"},
            {"video_url": "b.mp4", "image_url": "https://e.com/i.png"},
            {},
        ]
    ),
    st.sampled_from(
        [
            {},
            {"prompt": "one"},
            *[{"external_task_id": "own"}] * 2,
            *[{"external_task_id": "own", "prompt": "one"}] * 2,
            {"takes": 2},
            MATRIX,
            MATRIX,
            {"watermark_info": {"enabled": True}},
            {"promt": "a slip"},
        ]
    ),
)
DEFAULTS = st.sampled_from(
    ["", '{"mode": "pro"}', '{"prompt": "far"}', '{"image_url": "girl.png"}', '{"takes": 2}', "{"]
)
IGNORED = st.sampled_from(
    ["", "x/\n", "*.yml\n*.ymal\n", "a*\n!a.yaml\n", "!a 2.yaml\n", "_defaults*\n", "specs/*/\n", "[z-a]\n"]
)  # fmt: skip
Edit = tuple[Callable[..., None], tuple[object, ...]]
EXAMPLES = 50
# A few names are used again and again, so that edits meet; the many others come up now and then.
CLOSE = (
    "specs/a.yaml",
    "specs/A.yml",
    "specs/b.yaml",
    "specs/a.std.yaml",
    "specs/x/a.yaml",
    "specs/a 2.yaml",
)
SPOKEN_FOR = ("specs/_defaults.yaml", "specs/x/_defaults.yaml")
PICTURES = ("assets/girl.png", "specs/girl.png", "specs/gril.png")
FAR = st.builds(
    "{}/{}".format,
    st.sampled_from((*FOLDERS[1:], *OTHER_FOLDERS)),
    st.sampled_from((*SPEC_FILES, *OTHER_FILES)),
)
SPECS = st.one_of(st.sampled_from(CLOSE), st.sampled_from(CLOSE), FAR)
FILES = st.one_of(st.sampled_from(SPOKEN_FOR), st.sampled_from(PICTURES), FAR)
PLACES = st.one_of(
    st.sampled_from((*CLOSE, *SPOKEN_FOR, *PICTURES)),
    st.sampled_from((*FOLDERS[1:], *OTHER_FOLDERS)),
    FAR,
)


@functools.cache
def media() -> dict[str, list[bytes]]:
    """Return what may stand in a file, by suffix: right in two ways, wrong in one."""
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for side in (320, 330, 20):
            Image.new("L", (side, side)).save(Path(folder) / "image.png")
            images.append((Path(folder) / "image.png").read_bytes())
        film = Path(folder) / "film.mp4"
        films = [make_video(film, seconds=length).read_bytes() for length in (4, 5)]
    return {".png": images, ".mp4": [*films, b"no film"]}


class Folder:
    """A folder that is edited, and an index that is told of it in one way or the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("specs", "assets"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "assets/girl.png").write_bytes(media()[".png"][0])
        for name in ("a.mp4", "b.mp4"):
            (self.root / "specs" / name).write_bytes(media()[".mp4"][0])
        (self.root / "specs/a.yaml").write_text(
            self.text({"image_url": "ASSETS/girl.png"}, "specs")
        )
        self.index = SpecIndex(self.root, "specs", prices=UNITS_PER_SECOND)
        self.told = self.load()
        self.touched: set[str] = set()

    def load(self) -> Desired:
        return load(self.root, "specs", prices=UNITS_PER_SECOND)

    def text(self, wish: dict[str, object], folder: str) -> str:
        complete = {**COMPLETE, **wish}
        up = "../" * (folder.count("/") + 1)
        return json.dumps(complete).replace("ASSETS", f"{up}assets")

    def put(self, name: str, content: bytes) -> None:
        path = self.root / name
        self.touched.add(name)
        with contextlib.suppress(OSError):  # a folder or a link to nothing is in the way
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def write_a_spec(self, name: str, wish: dict[str, object]) -> None:
        self.put(name, self.text(wish, name.rpartition("/")[0]).encode())

    def write_a_file(self, name: str, text: str, which: int) -> None:
        contents = media().get(Path(name).suffix)
        self.put(name, contents[which] if contents else text.encode())

    def remove(self, place: str) -> None:
        path = self.root / place
        self.touched.add(place)
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def rename(self, place: str, goal: str) -> None:
        self.touched |= {place, goal}
        with contextlib.suppress(OSError):
            (self.root / place).rename(self.root / goal)

    def link(self, place: str, goal: str) -> None:
        self.touched.add(place)
        with contextlib.suppress(OSError):
            (self.root / place).symlink_to(self.root / goal)

    def move_the_image_out_of_the_project(self) -> None:
        folder = self.root / "assets"
        if folder.is_dir() and not folder.is_symlink():
            outside = self.root.parent / str(len(list(self.root.parent.iterdir())))
            folder.rename(outside)
            folder.symlink_to(outside)
            self.touched.add("assets")

    def tell(self, *, by_name: bool) -> None:
        names = self.touched if by_name and not self.is_linked else self.index.snapshot().strays()
        foreseen = self.index.concerned(names)
        changed = self.index.refresh(names)
        self.touched = set()
        now = self.load()
        assert self.index.desired() == now
        self.check_views(now)
        assert differing(self.told, now) <= changed.specs
        assert changed.specs <= foreseen | differing(self.told, now)
        held = {*self.told.held_back.items()} ^ {*now.held_back.items()}
        assert {spec for spec, _ in held} <= foreseen | changed.specs
        receipts = {
            name
            for name in {*self.told.receipts, *now.receipts}
            if self.told.receipts.get(name) != now.receipts.get(name)
        }
        assert receipts <= changed.receipts
        self.told = now

    @property
    def is_linked(self) -> bool:
        """Whether a name may mean another file than it says: then only a resync sees everything."""
        return any(path.is_symlink() for path in self.root.rglob("*"))

    def check_views(self, now: Desired) -> None:
        views, wishes = by_spec(now), defaultdict(list)
        for generation in now.generations:
            wishes[generation.external_task_id].append(generation)
        assert set(self.index.specs) == set(now.specs)
        assert self.index.receipts == now.receipts
        assert tuple(self.index.notes()) == now.notes
        for spec in now.specs:
            assert self.index.generations(spec) == views[spec]
            assert self.index.problems(spec) == now.invalid.get(spec, ())
            assert self.index.is_as_read(spec)
            assert self.index.held_back(spec) == now.held_back.get(spec, "")
        for base_id, places in wishes.items():
            assert self.index.wishes(base_id) == tuple(places)
        snapshot = dataclasses.replace(self.index.snapshot(), racy=frozenset())
        # Beside a missing file, anything may be the one that was meant.
        assert all(snapshot.media[name].file is None for name in snapshot.strays())


def by_spec(desired: Desired) -> defaultdict[str, tuple[Generation, ...]]:
    views: defaultdict[str, tuple[Generation, ...]] = defaultdict(tuple)
    for generation in desired.generations:
        views[generation.spec] += (generation,)
    return views


def differing(before: Desired, after: Desired) -> set[str]:
    """The specs that ask for something else, are wrong in another way, came or went."""
    old, new = by_spec(before), by_spec(after)
    return {
        spec
        for spec in {*before.specs, *after.specs}
        if old[spec] != new[spec]
        or before.invalid.get(spec) != after.invalid.get(spec)
        or (spec in before.specs) != (spec in after.specs)
    }


def edits(
    *arguments: st.SearchStrategy[object], of: Callable[..., None]
) -> st.SearchStrategy[Edit]:
    return st.tuples(st.just(of), st.tuples(*arguments))


PLAIN = st.one_of(
    *[edits(SPECS, WISHES, of=Folder.write_a_spec)] * 4,
    *[edits(FILES, DEFAULTS, st.integers(0, 2), of=Folder.write_a_file)] * 3,
    *[edits(PLACES, of=Folder.remove)] * 2,
    edits(st.just(IGNORE_FILE), IGNORED, st.just(0), of=Folder.write_a_file),
    edits(st.just(IGNORE_FILE), of=Folder.remove),
    edits(PLACES, PLACES, of=Folder.rename),
)
LINKING = st.one_of(
    edits(PLACES, PLACES, of=Folder.link), edits(of=Folder.move_the_image_out_of_the_project)
)


def batches_of(edit: st.SearchStrategy[Edit]) -> st.SearchStrategy[list[tuple[list[Edit], bool]]]:
    batch = st.tuples(st.lists(edit, min_size=1, max_size=4), st.booleans())
    return st.lists(batch, min_size=3, max_size=15)


BATCHES = st.one_of(batches_of(PLAIN), batches_of(PLAIN), batches_of(st.one_of(PLAIN, LINKING)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(batches=BATCHES)
def test_after_any_edits_the_index_says_what_a_fresh_load_says(
    batches: list[tuple[list[Edit], bool]],
) -> None:
    """Told the names, or left to find them: every view agrees, and `Changed` leaves nothing out."""
    with tempfile.TemporaryDirectory() as root:
        folder = Folder(Path(root) / "project")
        for batch, by_name in batches:
            for change, arguments in batch:
                change(folder, *arguments)
            folder.tell(by_name=by_name)
