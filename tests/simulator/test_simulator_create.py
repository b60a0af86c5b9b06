"""A create is accepted when it keeps every documented rule, and otherwise refused with the field that breaks one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.caller import TASKS, Caller, calling, order
from tests.simulator.made import base64_picture, clip, picture
from tests.support.simulator import Simulator, simulator


@pytest.fixture(scope="module")
def still() -> Iterator[Simulator]:
    with simulator(speed=0, concurrency=1000, pack_units=10**6) as running:
        yield running


@pytest.fixture(scope="module")
def caller(still: Simulator) -> Iterator[Caller]:
    with calling(still) as caller:
        yield caller


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a model nobody has", {"model_name": "kling-v9"}, "model_name"),
    ("no mode", {"mode": None}, "mode"),
    ("a mode nobody has", {"mode": "4k"}, "mode"),
    ("a mode that is no string", {"mode": 7}, "mode"),
    ("no orientation", {"character_orientation": None}, "character_orientation"),
    ("an orientation nobody has", {"character_orientation": "left"}, "character_orientation"),
    ("a boolean where yes or no belongs", {"keep_original_sound": True}, "keep_original_sound"),
    ("a prompt that is too long", {"prompt": "x" * 2501}, "prompt"),
    ("no image", {"image_url": None}, "image_url"),
    (
        "Base64 with a prefix",
        {"image_url": f"data:image/png;base64,{base64_picture()}"},
        "image_url",
    ),
    ("a path instead of an image", {"image_url": "girl.png"}, "image_url"),
    ("an image that is a WEBP", {"image_url": base64_picture(kind="WEBP")}, "image_url"),
    ("an image that is too narrow", {"image_url": base64_picture(299, 400)}, "image_url"),
    ("an image that is too wide", {"image_url": base64_picture(65537, 300)}, "image_url"),
    ("an image too long for its width", {"image_url": base64_picture(300, 751)}, "image_url"),
    ("no video", {"video_url": None}, "video_url"),
    ("Base64 instead of a video", {"video_url": base64_picture()}, "video_url"),
    ("two elements", {"element_list": [{"element_id": 1}, {"element_id": 2}]}, "element_list"),
    ("an element whose id is a string", {"element_list": [{"element_id": "1"}]}, "element_list"),
    ("an element of 65 bits", {"element_list": [{"element_id": 2**63}]}, "element_list"),
    (
        "an element seen from the image",
        {"element_list": [{"element_id": 1}]},
        "character_orientation",
    ),
    ("a watermark that is a word", {"watermark_info": {"enabled": "yes"}}, "watermark_info"),
    ("a callback that is no URL", {"callback_url": "here"}, "callback_url"),
    ("an external id that is a number", {"external_task_id": 1}, "external_task_id"),
]


@pytest.mark.parametrize(("reason", "fields", "named"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_wrong_field_is_named(
    still: Simulator, caller: Caller, reason: str, fields: dict[str, Any], named: str
) -> None:
    """A broken rule is 400 with 1201, the message names the field, and nothing is billed."""
    billed = still.billed()
    answer = caller.create(order(**fields))
    assert (answer.status_code, answer.json()["code"]) == (400, 1201), reason
    assert answer.json()["message"].startswith(f"{named}: ")
    assert "data" not in answer.json()
    assert still.billed() == billed


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("the least that is required", {}),
    (
        "what the sample sends",
        {"model_name": "kling-v2-6", "callback_url": "", "keep_original_sound": "yes"},
    ),
    ("the longest prompt, counted in characters", {"prompt": "舞" * 2500}),
    ("the narrowest JPEG of the longest form", {"image_url": base64_picture(300, 750, "JPEG")}),
    (
        "an element of 63 bits",
        {"element_list": [{"element_id": 2**63 - 1}], "character_orientation": "video"},
    ),
    ("no element", {"element_list": []}),
    ("a watermark", {"watermark_info": {"enabled": True}}),
]


@pytest.mark.parametrize(("reason", "fields"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_what_the_rules_allow_is_accepted(
    caller: Caller, reason: str, fields: dict[str, Any]
) -> None:
    """An order at the very limit of a rule is accepted, and answered as documented."""
    answer = caller.create(order(**fields))
    assert answer.status_code == 200, (reason, answer.text)
    data = answer.json()["data"]
    assert set(answer.json()) == {"code", "message", "request_id", "data"}
    assert answer.json()["message"] == "SUCCEED"
    assert set(data) == {"task_id", "task_status", "task_info", "created_at", "updated_at"}
    assert data["task_status"] == "submitted"
    assert len(data["task_id"]) == 18
    assert data["task_id"].isdigit()


def test_an_image_over_ten_megabytes_is_refused(caller: Caller) -> None:
    """The size of the decoded image counts."""
    data = picture() + bytes(10 * 1024 * 1024)
    answer = caller.create(order(image_url=base64.b64encode(data).decode()))
    assert answer.json()["message"] == "image_url: the image must not exceed 10 MB"


HOSTED: list[tuple[str, dict[str, Any], str, str]] = [
    ("too short", {"seconds": 2.9}, "image", "3 to 10 s"),
    ("too long for the image's view", {"seconds": 10.1}, "image", "3 to 10 s"),
    ("too long for the video's view", {"seconds": 30.1}, "video", "3 to 30 s"),
    ("too low", {"size": (640, 338)}, "image", "340 to 3850"),
    ("too wide", {"size": (3852, 340)}, "image", "340 to 3850"),
    ("HEVC", {"codec": "libx265"}, "image", "Video format is invalid"),
]


@pytest.mark.parametrize(
    ("reason", "made", "orientation", "said"), HOSTED, ids=[row[0] for row in HOSTED]
)
def test_a_hosted_video_is_looked_into(
    still: Simulator,
    caller: Caller,
    tmp_path: Path,
    reason: str,
    made: dict[str, Any],
    orientation: str,
    said: str,
) -> None:
    """A video in the simulator's own store is really opened, and refused for what is really in it."""
    url = still.upload(clip(tmp_path / "reference.mp4", **made))
    answer = caller.create(order(video_url=url, character_orientation=orientation))
    assert (answer.status_code, answer.json()["code"]) == (400, 1201), reason
    assert said in answer.json()["message"]


def test_videos_at_the_limits_are_accepted(
    still: Simulator, caller: Caller, tmp_path: Path
) -> None:
    """Exactly 10 s seen from the image and more seen from the video, as MP4 and as MOV."""
    ten = still.upload(clip(tmp_path / "ten.mp4", seconds=10, size=(340, 340)))
    more = still.upload(clip(tmp_path / "more.mov", seconds=11))
    assert caller.create(order(video_url=ten)).status_code == 200
    assert caller.create(order(video_url=more, character_orientation="video")).status_code == 200


def test_a_video_over_a_hundred_megabytes_is_refused(still: Simulator, caller: Caller) -> None:
    """The size of the file counts before anything in it."""
    name = f"{'0' * 64}.mp4"
    with (still.config.folder / "media" / name).open("wb") as file:
        file.truncate(100 * 1024 * 1024 + 1)
    answer = caller.create(order(video_url=f"{still.results_url}/media/{name}"))
    assert answer.json()["message"] == "video_url: the video must not exceed 100 MB"


def test_media_that_are_not_there_cannot_be_downloaded(still: Simulator, caller: Caller) -> None:
    """A URL of the own store without a file behind it is refused, for images and videos."""
    for field in ("image_url", "video_url"):
        answer = caller.create(order(**{field: f"{still.results_url}/media/{'1' * 64}.mp4"}))
        assert answer.json()["message"] == f"{field}: cannot be downloaded"


def test_a_hosted_file_that_is_no_media_is_refused(
    still: Simulator, caller: Caller, tmp_path: Path
) -> None:
    """The suffix of a file convinces nobody."""
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"not a film")
    url = still.upload(fake)
    assert "Video format is invalid" in caller.create(order(video_url=url)).json()["message"]
    assert "JPEG or a PNG" in caller.create(order(image_url=url)).json()["message"]


def test_the_content_type_must_be_json(caller: Caller) -> None:
    """Another content type, and what cannot be read as JSON, is 1200; JSON that is no object 1201."""
    form = caller.http.post(TASKS, data={"mode": "std"})
    assert (form.status_code, form.json()["code"]) == (400, 1200)
    for body in (b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000):
        answer = caller.http.post(TASKS, content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, 1200)
    answer = caller.http.post(TASKS, content=b"[]")
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)


MATRICES = {
    "turned": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "mirrored": (-1, 0, 0, 1),
    "mirrored top to bottom": (1, 0, 0, -1),
}


@pytest.mark.parametrize("how", MATRICES)
def test_a_film_that_a_player_turns_is_refused(
    still: Simulator, caller: Caller, tmp_path: Path, how: str
) -> None:
    """People transcode it with the rotation applied (observed)."""
    url = still.upload(clip(tmp_path / "turned.mp4", matrix=MATRICES[how]))
    answer = caller.create(order(video_url=url))
    assert (answer.json()["code"], "Video format is invalid" in answer.json()["message"]) == (
        1201,
        True,
    )


def test_a_film_is_as_long_as_its_picture(still: Simulator, caller: Caller, tmp_path: Path) -> None:
    """Sound that goes on is no motion."""
    url = still.upload(clip(tmp_path / "short.mp4", 2, sound=True, sound_seconds=5))
    assert "must last" in caller.create(order(video_url=url)).json()["message"]


def test_unknown_routes_are_1202(caller: Caller) -> None:
    """A path or a method that nobody documented is 404 with 1202."""
    for method, path in (
        ("GET", "/v1/videos/text2video"),
        ("DELETE", TASKS),
        ("POST", f"{TASKS}/x"),
    ):
        answer = caller.http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, 1202)


def test_a_form_of_external_ids_can_be_demanded() -> None:
    """The longest id and its alphabet are unknown, so a simulator can be told to have any."""
    with simulator(external_id_pattern="[a-z0-9-]{1,8}") as sim, calling(sim) as api:
        assert api.create(order("short-1")).status_code == 200
        assert api.create(order("much-too-long")).json()["code"] == 1201
        assert api.create(order("Upper")).json()["code"] == 1201


def test_uploads_are_kept_by_their_digest(still: Simulator, caller: Caller) -> None:
    """A file is accepted under its SHA-256 alone, any number of times, and served as it came."""
    data = picture(310, 310)
    name = f"{hashlib.sha256(data).hexdigest()}.png"
    path = f"/simulator/media/{name}"
    assert caller.http.head(path).status_code == 404
    urls = {caller.http.put(path, content=data).json()["url"] for _ in range(2)}
    assert caller.http.head(path).status_code == 200
    assert urls == {f"{still.results_url}/media/{name}"}
    assert still.control.get(urls.pop()).content == data
    assert caller.http.put(path, content=b"other").status_code == 400
    assert caller.http.put("/simulator/media/x.png", content=data).status_code == 400


def test_policy_is_1301(caller: Caller) -> None:
    """The marker stands for content that the provider does not want."""
    answer = caller.create(order(prompt="a dance [[policy]]"))
    assert (answer.status_code, answer.json()["code"]) == (400, 1301)
