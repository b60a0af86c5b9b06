"""From a folder to what is wanted: identity across formats, defaults, media, errors with places, collisions."""

from __future__ import annotations

import os
import random
import time
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.core.errors import WorkspaceError
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.workspace.files.outputs import signature
from reconciler.workspace.read.loader import load
from tests.workspace.builders import SPEC, Project, make_image, make_video

ELEMENT = 829836802793406551


def test_a_local_image_and_video_stand_in_the_identity_by_their_bytes(project: Project) -> None:
    """The id depends on what local media contain, and the length gives the estimate."""
    project.write("specs/dance.yaml")
    generation = project.generation()
    assert generation.inputs["image_url"].path == "assets/girl.png"
    assert generation.request["image_url"] == {
        "sha256": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
    }
    assert generation.inputs["video_url"].seconds == Decimal("5.28")
    assert generation.estimated_units == Decimal(4)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("specs/a.yml", SPEC, "another name and suffix"),
        ("specs/a.yaml", "# why\n\n" + SPEC + "\n# because\n", "comments"),
        ("specs/a.yaml", "{mode: pro, character_orientation: image, video_url: ../assets/dance.mp4, image_url: ../assets/girl.png}", "flow style, another order"),
        ("specs/a.yaml", SPEC.replace("\n", "\r\n"), "Windows line ends"),
        ("specs/a.yaml", "\ufeff" + SPEC, "a byte order mark"),
        ("specs/x/y/a.yaml", SPEC.replace("../", "../../../"), "another folder"),
        ("specs/a.yaml", SPEC.replace("../assets", "./../specs/../assets"), "a roundabout path"),
        ("specs/a.yaml", SPEC + "keep_original_sound: yes\nwatermark_info: {enabled: no}\ntakes: 1\n", "defaults spelled out"),
        ("specs/a.json", '{"mode": "pro", "character_orientation": "image", "video_url": "../assets/dance.mp4", "image_url": "../assets/girl.png"}', "JSON"),
        ("specs/a.toml", "mode = 'pro'\ncharacter_orientation = 'image'\nvideo_url = '../assets/dance.mp4'\nimage_url = '../assets/girl.png'\n", "TOML"),
    ],
)  # fmt: skip
def test_how_a_wish_is_written_never_changes_its_id(
    project: Project, name: str, content: str, reason: str
) -> None:
    """Format, order, comments, line ends and folders buy nothing again."""
    project.write("specs/dance.yaml")
    expected = project.generation().external_task_id
    project.remove("specs/dance.yaml")
    project.write(name, content)
    assert project.generation().external_task_id == expected, reason


def test_renaming_an_image_keeps_the_id_and_changing_a_byte_does_not(project: Project) -> None:
    """Media count by content: a new name is the same wish, new bytes are another."""
    project.write("specs/dance.yaml")
    before = project.generation().external_task_id
    (project.root / "assets/girl.png").rename(project.root / "assets/woman.png")
    project.write("specs/dance.yaml", SPEC.replace("girl", "woman"))
    assert project.generation().external_task_id == before
    make_image(project.root / "assets/woman.png", (512, 512))
    assert project.generation().external_task_id != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("specs/a.yaml", f"element_list: [{{element_id: {ELEMENT}}}]\n"),
        ("specs/a.json", f'{{"element_list": [{{"element_id": {ELEMENT}}}]}}'),
        ("specs/a.json", f'{{"element_list": [{{"element_id": "{ELEMENT}"}}]}}'),
        ("specs/a.toml", f"[[element_list]]\nelement_id = {ELEMENT}\n"),
    ],
)
def test_an_element_id_of_64_bits_survives_every_format(
    project: Project, name: str, content: str
) -> None:
    """No format rounds a number that the provider needs exactly."""
    project.write("specs/_defaults.yaml", SPEC.replace("orientation: image", "orientation: video"))
    project.write(name, content)
    assert project.generation().request["element_list"] == [{"element_id": ELEMENT}]


@pytest.mark.parametrize(
    ("written", "sound"), [("yes", "yes"), ("no", "no"), ("'no'", "no"), ("off", "no")]
)
def test_a_bare_yes_or_no_is_what_it_says(project: Project, written: str, sound: str) -> None:
    """YAML's booleans reach the API's `yes` and `no` as they were meant."""
    project.write("specs/a.yaml", f"{SPEC}keep_original_sound: {written}\n")
    assert project.generation().request["keep_original_sound"] == sound


def test_a_matrix_and_takes_multiply_in_the_order_written(project: Project) -> None:
    """The plan lists every combination and take under its own output, specs sorted by name."""
    project.write("specs/b.yaml", f"{SPEC}takes: 2\nmatrix:\n  mode: [std, pro]\n")
    project.write("specs/a.yaml")
    assert [generation.output() for generation in project.load().generations] == [
        "specs/a.mp4",
        "specs/b.std.1.mp4",
        "specs/b.std.2.mp4",
        "specs/b.pro.1.mp4",
        "specs/b.pro.2.mp4",
    ]


def test_the_nearest_default_wins_and_the_spec_wins_over_all(project: Project) -> None:
    """Which of several values holds follows the folders, key by key."""
    project.write("specs/_defaults.yaml", SPEC + "prompt: far\nmodel_name: kling-v3\n")
    project.write("specs/near/_defaults.yaml", "prompt: near\nmode: std\n")
    project.write("specs/near/deep/a.yaml", "mode: pro\n")
    generation = project.generation()
    assert (generation.request["prompt"], generation.request["mode"]) == ("near", "pro")
    assert generation.request["model_name"] == "kling-v3"


def test_a_path_is_relative_to_the_file_that_states_it(project: Project) -> None:
    """A defaults file can name media for specs at any depth below it."""
    project.write("specs/_defaults.yaml", "image_url: ../assets/girl.png\n")
    rest = SPEC.replace("image_url: ../assets/girl.png\n", "").replace("../", "../../../")
    project.write("specs/x/y/a.yaml", rest)
    assert project.generation().inputs["image_url"].path == "assets/girl.png"


def test_a_url_is_taken_as_written_and_costs_at_most_what_it_can(project: Project) -> None:
    """A URL is not changed, and an unknown length is estimated at its maximum."""
    project.write(
        "specs/a.yaml", SPEC.replace("../assets/dance.mp4", "https://e.com/d.mp4?a=b%20c")
    )
    generation = project.generation()
    assert generation.request["video_url"] == "https://e.com/d.mp4?a=b%20c"
    assert generation.estimated_units == Decimal(8)


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        (("mode: pro", "mode: prp"), "specs/a.yaml:4:7: `mode` is \"prp\": it can be std or pro (did you mean `pro`?)", "a slip in a value"),
        (("mode: pro", "mode: pro\npromt: x"), "specs/a.yaml:5:1: `promt` is not a key of a spec", "a slip in a key"),
        (("girl.png", "gril.png"), "specs/a.yaml:1:12: `assets/gril.png` does not exist (did you mean `../assets/girl.png`?)", "a slip in a path"),
        (("../assets/girl.png", "../nowhere/girl.png"), "specs/a.yaml:1:12: `nowhere/girl.png` does not exist", "a missing folder"),
        (("../assets/girl.png", "../assets"), "specs/a.yaml:1:12: `assets` is not one of .jpg, .jpeg, .png", "a folder"),
        (("../assets/girl.png", "../assets/dance.mp4"), "is not one of .jpg, .jpeg, .png", "a video as the image"),
        (("../assets/dance.mp4", "../assets/girl.png"), "is not one of .mp4, .mov", "an image as the video"),
        (("../assets/girl.png", "../../girl.png"), "specs/a.yaml:1:12: `../../girl.png` leads out of the project", "up and out"),
        (("../assets/girl.png", "../assets/../../project/assets/girl.png"), "leads out of the project", "out and in again"),
        (("../assets/girl.png", "/etc/girl.png"), "is an absolute path", "absolute"),
        (("../assets/girl.png", "~/girl.png"), "is an absolute path", "a home folder"),
        (("../assets/girl.png", "C:/girl.png"), "has the scheme `C:`", "a drive"),
        (("../assets/girl.png", "file:///etc/girl.png"), "has the scheme `file:`", "a file URL"),
        (("../assets/girl.png", "ftp://e.com/girl.png"), "has the scheme `ftp:`", "another protocol"),
        (("../assets/girl.png", "data:image/png;base64,AAAA"), "has the scheme `data:`", "the prefix that the API forbids"),
        (("../assets/girl.png", "https:///girl.png"), "names no host", "a URL without a host"),
        (("../assets/girl.png", "'https://e.com/a b.png'"), "white space", "a URL with a space"),
        (("../assets/girl.png", "'a\\0b.png'"), "does not exist", "backslashes mean nothing in single quotes"),
        (("../assets/girl.png", "x" * 3000 + ".png"), "does not exist", "a name that is too long"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(
    project: Project, change: tuple[str, str], expected: str, reason: str
) -> None:
    """Slips in values, keys and paths, and every way out of the project, are said at line and column."""
    project.write("specs/a.yaml", SPEC.replace(*change))
    (problem,) = project.problems()
    assert expected in problem, reason


def test_a_video_is_never_suggested_for_an_image(project: Project) -> None:
    """A suggestion is only made where it would help."""
    project.write("specs/a.yaml", SPEC.replace("girl.png", "dance.png"))
    (problem,) = project.load().problems
    assert (problem.message, problem.suggestion) == ("`assets/dance.png` does not exist", "")


def test_the_limits_of_the_api_are_checked_where_the_file_is_named(project: Project) -> None:
    """An image or video that the API would refuse is a problem of the spec that names it."""
    make_image(project.root / "assets/girl.png", (200, 600))
    make_video(project.root / "assets/dance.mp4", seconds=12)
    project.write("specs/a.yaml")
    (problem,) = project.problems()
    assert problem.startswith("specs/a.yaml:1:12: the image is 200 × 600 px")
    make_image(project.root / "assets/girl.png", (400, 600))
    (problem,) = project.problems()
    assert problem.startswith("specs/a.yaml:2:12: the video lasts 12 s: 3 to 10 s are allowed")
    project.write("specs/a.yaml", SPEC.replace("orientation: image", "orientation: video"))
    assert project.generation().inputs["video_url"].seconds == 12


def test_one_bad_spec_never_stops_the_others(project: Project) -> None:
    """A broken spec is listed as invalid, and the rest of the folder is read."""
    project.write("specs/good.yaml")
    project.write("specs/bad.yaml", "mode: [")
    desired = project.load()
    assert [generation.spec for generation in desired.generations] == ["specs/good.yaml"]
    assert desired.specs == ("specs/bad.yaml", "specs/good.yaml")
    assert list(desired.invalid) == ["specs/bad.yaml"]


def test_one_bad_combination_makes_the_whole_spec_invalid(project: Project) -> None:
    """Nothing of a matrix is bought while one of its values is wrong."""
    matrix = "matrix:\n  image_url: [../assets/girl.png, ../assets/none.png]\n"
    project.write("specs/a.yaml", SPEC + matrix)
    desired = project.load()
    assert not desired.generations
    assert str(desired.problems[0]).startswith(
        "specs/a.yaml:6:35: `assets/none.png` does not exist"
    )


def test_two_specs_that_write_the_same_output_are_both_refused(project: Project) -> None:
    """A collision stops both specs, and only those."""
    project.write("specs/a.yaml")
    project.write("specs/a.yml", SPEC + "prompt: x\n")
    project.write("specs/b.yaml")
    desired = project.load()
    assert [generation.spec for generation in desired.generations] == ["specs/b.yaml"]
    assert set(desired.invalid) == {"specs/a.yaml", "specs/a.yml"}


def test_a_broken_defaults_file_stops_all_below_it_and_is_said_once(project: Project) -> None:
    """The folder below is invalid, and the mistake appears once instead of for every spec."""
    project.write("specs/x/_defaults.yaml", "promt: slowly\n")
    project.write("specs/x/a.yaml", SPEC.replace("../", "../../"))
    project.write("specs/x/y/b.yaml", SPEC.replace("../", "../../../"))
    project.write("specs/c.yaml")
    desired = project.load()
    assert [generation.spec for generation in desired.generations] == ["specs/c.yaml"]
    assert set(desired.invalid) == {"specs/x/_defaults.yaml", "specs/x/a.yaml", "specs/x/y/b.yaml"}
    (problem,) = desired.problems
    assert (problem.place.file, problem.suggestion) == ("specs/x/_defaults.yaml", "prompt")


@pytest.mark.parametrize(
    "name",
    [
        *("_defaults.yml", "_defaults.json", "_defaults.toml", "_Defaults.yaml"),
        *("_defaults.yaml.txt", "_defaults.ymal", "_default.yaml", "defaults.yaml"),
    ],
)
def test_defaults_of_another_name_are_not_quietly_ignored(project: Project, name: str) -> None:
    """A defaults file that would have no effect holds up its folder instead of changing what is bought."""
    project.write(f"specs/{name}", "")
    project.write("specs/a.yaml")
    desired = project.load()
    assert not desired.generations
    assert [problem.place.file for problem in desired.problems] == [f"specs/{name}"]
    assert "rename" in desired.problems[0].message


def test_every_misnamed_defaults_file_is_said(project: Project) -> None:
    """All wrong names are listed at once, beside a right one, too."""
    project.write("specs/_defaults.yml", "")
    project.write("specs/_defaults.json", "{}")
    project.write("specs/_defaults.yaml", "")
    project.write("specs/a.yaml")
    desired = project.load()
    named = ["specs/_defaults.json", "specs/_defaults.yml"]
    assert [problem.place.file for problem in desired.invalid["specs/a.yaml"]] == named
    assert desired.defaults == {"specs/_defaults.yaml"}


def test_what_only_looks_like_a_spec_is_a_problem_and_never_a_crash(project: Project) -> None:
    """Folders, pipes and broken links with a spec's name are invalid specs."""
    (project.root / "specs/folder.yaml").mkdir()
    (project.root / "specs/link.yaml").symlink_to("nowhere.yaml")
    (project.root / "specs/through.yaml").symlink_to("good.yaml/spec.yaml")
    os.mkfifo(project.root / "specs/fifo.yaml")
    project.write("specs/good.yaml")
    desired = project.load()
    assert [generation.spec for generation in desired.generations] == ["specs/good.yaml"]
    assert set(desired.invalid) == {
        f"specs/{name}.yaml" for name in ("folder", "link", "through", "fifo")
    }


def test_a_name_that_cannot_be_shown_is_a_problem(project: Project) -> None:
    """A name with line breaks or bytes that are no text is refused and shown escaped."""
    project.write("specs/line\nbreak.yaml")
    (project.root / os.fsdecode(b"specs/caf\xe9.yaml")).write_text(SPEC)
    desired = project.load()
    assert list(desired.invalid) == ["specs/caf\\xe9.yaml", "specs/line\\x0abreak.yaml"]
    "".join(map(str, desired.problems)).encode()


def test_hidden_files_receipts_results_and_linked_folders_are_no_specs(project: Project) -> None:
    """Only visible files of the folder itself can ask for a purchase."""
    project.write("specs/.hidden.yaml")
    project.write("specs/.git/a.yaml")
    project.write("specs/a.receipt.json", "{}")
    project.write("specs/a.mp4", b"")
    project.write("elsewhere/b.yaml")
    (project.root / "specs/linked").symlink_to("../elsewhere")
    desired = project.load()
    assert desired.specs == ()
    assert desired.receipts == {
        "specs/a.receipt.json": signature(project.root / "specs/a.receipt.json")
    }


def test_a_linked_spec_must_stay_in_the_project(project: Project, tmp_path: Path) -> None:
    """A link may lead to another spec of the project, and to nothing outside, also later."""
    (tmp_path / "outside.yaml").write_text(SPEC)
    (project.root / "specs/out.yaml").symlink_to(tmp_path / "outside.yaml")
    project.write("shared/in.yaml")
    (project.root / "specs/in.yaml").symlink_to("../shared/in.yaml")
    desired = project.load(cached=True)
    assert [generation.spec for generation in desired.generations] == ["specs/in.yaml"]
    assert "leads out of the project" in str(desired.problems[0])
    (project.root / "shared").rename(tmp_path / "shared")
    (project.root / "shared").symlink_to(tmp_path / "shared")
    assert len(project.load(cached=True).problems) == 2, "the same file, but outside now"


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_media_must_not_leave_the_project_by_a_link(
    project: Project, tmp_path: Path, linked: str
) -> None:
    """No link uploads a file from outside the project."""
    outside = make_image(tmp_path / "outside" / "girl.png", (512, 512))
    project.remove("assets")
    if linked == "folder":
        (project.root / "assets").symlink_to(outside.parent)
    else:
        (project.root / "assets").mkdir()
        (project.root / "assets/girl.png").symlink_to(outside)
    project.write("specs/a.yaml")
    (problem,) = project.problems()
    assert "`../assets/girl.png` leads out of the project" in problem


def test_media_may_be_linked_inside_the_project(project: Project) -> None:
    """A link within the project is followed, and keeps the name that the spec gave."""
    (project.root / "assets/girl.png").rename(project.root / "assets/v2.png")
    (project.root / "assets/girl.png").symlink_to("v2.png")
    project.write("specs/a.yaml")
    assert project.generation().inputs["image_url"].path == "assets/girl.png"


def test_a_folder_that_cannot_be_listed_stops_the_load(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Specs that cannot be seen are never taken for deleted ones."""
    project.write("specs/locked/a.yaml")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root is refused nothing
    with pytest.raises(WorkspaceError, match="`specs/locked` cannot be used: permission is denied"):
        project.load()


@pytest.mark.parametrize(
    ("specs_dir", "words"),
    [
        ("nothing", "does not exist"),
        ("..", "lies outside"),
        ("/etc", "lies outside"),
        ("out", "lies outside"),
    ],
)
def test_the_specs_folder_must_exist_inside_the_project(
    project: Project, specs_dir: str, words: str
) -> None:
    """A wrong `specs_dir` ends in a sentence, and never reads another place of the machine."""
    (project.root / "out").symlink_to("/etc")
    with pytest.raises(WorkspaceError, match=words):
        load(project.root, specs_dir, prices=UNITS_PER_SECOND)


def test_the_root_itself_may_hold_the_specs(project: Project) -> None:
    """A project can do without a specs folder, and its settings file is no spec."""
    project.write("reconciler.toml", "[settings]\n")
    project.write("a.yaml", SPEC.replace("../", ""))
    for specs_dir in (".", str(project.root)):
        desired = load(project.root, specs_dir, prices=UNITS_PER_SECOND)
        assert desired.specs == ("a.yaml",)
        assert not desired.problems


def test_a_specs_folder_may_be_given_absolutely_and_the_root_relatively(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to write the two paths gives the same specs."""
    project.write("specs/a.yaml")
    monkeypatch.chdir(project.root)
    for root, specs_dir in ((project.root, str(project.root / "specs")), (Path(), "specs/")):
        desired = load(root, specs_dir, prices=UNITS_PER_SECOND)
        assert [generation.spec for generation in desired.generations] == ["specs/a.yaml"]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("specs/a.yaml", "prompt: slow turn, hair moves #2 take, keep the face\n", "specs/a.yaml:5:31"),
        ("specs/a.yaml", "matrix:\n  prompt:\n    - slow #2\n    - 'fast #3'\n", "specs/a.yaml:7:12"),
        ("specs/_defaults.yaml", "prompt: slow #2\n", "specs/_defaults.yaml:1:14"),
        ("specs/_defaults.yaml", "matrix: {prompt: [a, b #2\n]}\n", "specs/_defaults.yaml:1:24"),
        ("specs/a.yaml", "mode: pro  # 1080p\n", ""),
        ("specs/a.yaml", "matrix:\n  prompt:\n    - slow\n    # and\n    - fast\n", ""),
    ],
)  # fmt: skip
def test_a_prompt_that_a_comment_cuts_is_not_bought(
    project: Project, name: str, text: str, place: str
) -> None:
    """Where it is not certain what the prompt is, it says so with the place; a remark after another key is fine."""
    spec = SPEC.replace("mode: pro\n", "") if text.startswith("mode") else SPEC
    project.write("specs/a.yaml", spec + (text if name == "specs/a.yaml" else ""))
    if name != "specs/a.yaml":
        project.write(name, text)
    desired = project.load()
    assert {str(problem).partition(": ")[0] for problem in desired.problems} == set(filter(None, [place]))  # fmt: skip
    assert bool(desired.generations) is not bool(place)
    assert all("put the text in quotes" in problem.message for problem in desired.problems)


def test_a_key_without_a_value_is_left_out_and_the_default_counts(project: Project) -> None:
    """`null` in a spec or in a nearer defaults file hides nothing that stands further away."""
    project.write("specs/_defaults.yaml", "mode: std\nprompt: waves\nmodel_name: kling-v3\n")
    project.write("specs/x/_defaults.yaml", "$schema: x\nmode: ~\nmodel_name:\n")
    spec = SPEC.replace("mode: pro", "mode:").replace("../", "../../")
    project.write("specs/x/a.yaml", '"$schema": ../spec.schema.json\nprompt: null\n' + spec)
    request = project.generation().request
    assert (request["mode"], request["prompt"]) == ("std", "waves")
    assert request["model_name"] == "kling-v3"


def test_many_missing_files_among_many_names_are_told_in_a_moment(project: Project) -> None:
    """Each has hundreds of names to be compared with that nearly fit; the first hundred are told."""
    draw = random.Random(17)
    letters = "ab" * 30
    for number in range(400):
        project.write(f"specs/{''.join(draw.sample(letters, 60))}{number}.png", "")
    project.write("specs/abaabb.png", "")
    names = [
        "abaabc.png",
        *(f"{''.join(draw.sample(letters, 60))}-{number}.png" for number in range(499)),
    ]
    spec = SPEC.replace("image_url: ../assets/girl.png\n", "")
    project.write("specs/a.yaml", spec + f"matrix: {{image_url: {names}}}\n")
    before = time.process_time()
    problems = project.load().problems
    assert time.process_time() - before < 10
    assert len(problems) == 100
    assert problems[0].suggestion == "abaabb.png"
