"""What `prepare: true` makes of a file, decided from its facts alone: when anything, which part, what is said otherwise."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import media_rules, motion_control
from reconciler.core.fields import Trim
from reconciler.core.media_rules import (
    IMAGE_SIDES,
    VIDEO_SIDES,
    Preparation,
    Source,
    fit,
    limit_faults,
    too_large,
)
from reconciler.core.motion_control import SPANS, UNITS_PER_SECOND, MotionControl

MB = 1024 * 1024
IMAGE = Source(path="a.png", sha256="1" * 64, size=MB, width=512, height=512)
VIDEO = Source(
    path="a.mp4",
    sha256="2" * 64,
    size=MB,
    width=1280,
    height=720,
    seconds=Decimal(5),
    codec="h264",
)


def wish(orientation: str = "image", **fields: Any) -> MotionControl:
    return MotionControl.model_validate(
        {
            "image_url": "a.png",
            "video_url": "a.mp4",
            "character_orientation": orientation,
            "mode": "std",
            "prepare": True,
            **fields,
        }
    )


def as_sent(spec: MotionControl, image: Source, video: Source) -> tuple[Source, Source]:
    one, other = motion_control.inputs(spec)
    return media_rules.as_sent(one, image), media_rules.as_sent(other, video)


def limits_broken(spec: MotionControl, image: Source, video: Source) -> list[tuple[str, str]]:
    one, other = motion_control.inputs(spec)
    return [*media_rules.limits_broken(one, image), *media_rules.limits_broken(other, video)]


def canonical(spec: MotionControl, image: Source, video: Source) -> dict[str, Any]:
    return motion_control.canonical(spec, {"image_url": image, "video_url": video})


def test_files_that_the_api_takes_are_sent_as_they_are() -> None:
    """`prepare: true` is leave to mend, not an order to touch what is well."""
    assert as_sent(wish(), IMAGE, VIDEO) == (IMAGE, VIDEO)
    assert as_sent(wish(), Source(url="https://e.com/i"), Source(url="https://e.com/v")) == (
        Source(url="https://e.com/i"),
        Source(url="https://e.com/v"),
    )


@pytest.mark.parametrize(
    ("changes", "part", "seconds", "sides", "reason"),
    [
        ({"codec": "hevc"}, (0, "5.499"), 5, (1280, 720), "a phone's codec"),
        ({"format": "Matroska"}, (0, "5.499"), 5, (1280, 720), "in another container"),
        ({"codec": "vp9"}, (0, "5.499"), 5, (1280, 720), "a codec nobody knows to be taken"),
        ({"rotation": 270}, (0, "5.499"), 5, (1280, 720), "stored turned"),
        ({"mirrored": True}, (0, "5.499"), 5, (1280, 720), "stored mirrored"),
        (
            {"codec": "hevc", "seconds": Decimal("10.01")},
            (0, "10.499"),
            "10.01",
            (1280, 720),
            "300 frames",
        ),
        ({"size": 101 * MB}, (0, "5.499"), 5, (1280, 720), "too heavy"),
        ({"seconds": Decimal(12)}, (0, 10), 10, (1280, 720), "too long for the orientation"),
        ({"seconds": None}, (0, 10), 10, (1280, 720), "of unknown length"),
        ({"width": 320, "height": 240}, (0, "5.499"), 5, (454, 340), "too small"),
        ({"width": 7680, "height": 4320}, (0, "5.499"), 5, (3850, 2166), "8K"),
    ],
)
def test_a_video_is_mended_as_far_as_it_must(
    changes: dict[str, Any], part: tuple[Any, Any], seconds: Any, sides: Any, reason: str
) -> None:
    """Each limit by itself: what is sent keeps them all, and its length is known, and bounded, before anything is made.

    A whole film may be as long as its price allows.
    """
    _, sent = as_sent(wish(), IMAGE, replace(VIDEO, **changes))
    start, end = part
    assert sent.preparation == Preparation(Decimal(start), Decimal(end)), reason
    assert (sent.seconds, (sent.width, sent.height)) == (Decimal(seconds), sides), reason
    assert not limit_faults(media_rules.VIDEO, sent, SPANS["image"])
    assert not list(limits_broken(wish(), IMAGE, replace(VIDEO, **changes)))


@pytest.mark.parametrize(
    ("changes", "sides"),
    [
        ({"size": 11 * MB}, (512, 512)),
        ({"width": 200, "height": 400}, (300, 600)),
        ({"rotation": 270}, (512, 512)),
        ({"mirrored": True}, (512, 512)),
        ({"format": "HEIC"}, (512, 512)),
        ({"format": "JPEG", "path": "a.heic"}, (512, 512)),
    ],
)
def test_an_image_is_mended_as_far_as_it_must(changes: dict[str, Any], sides: Any) -> None:
    """Too heavy, too small, turned by a camera's note, or of another format or name."""
    sent, _ = as_sent(wish(), replace(IMAGE, **changes), VIDEO)
    assert sent.preparation == Preparation()
    assert (sent.width, sent.height) == sides
    assert not limit_faults(media_rules.IMAGE, sent)
    assert not list(limits_broken(wish(), replace(IMAGE, **changes), VIDEO))


def test_of_an_image_that_moves_the_first_frame_is_taken() -> None:
    """It is said before, and known when it is made."""
    gif = replace(IMAGE, format="animated GIF")
    (said,) = limits_broken(wish(prepare=False), gif, VIDEO)
    assert said == (
        "image_url",
        "`a.png` is an animated GIF, which the API does not take; `prepare: true` makes a JPEG of its first frame",
    )
    assert as_sent(wish(), gif, VIDEO)[0].preparation == Preparation(is_first_frame=True)


@pytest.mark.parametrize(
    ("image", "video", "key", "words", "reason"),
    [
        ({}, {"seconds": Decimal("2.4")}, "video_url", "lasts 2.4 s", "nothing makes it longer"),
        ({"width": 400, "height": 1100}, {}, "image_url", "aspect", "nor of another shape"),
        ({}, {"width": 4000, "height": 100}, "video_url", "each side", "too narrow at any size"),
        ({}, {"width": 9000, "height": 9000}, "video_url", "each side", "too large to decode"),
        ({"width": 20_000, "height": 20_000}, {}, "", "", "a bomb is found by the decoder"),
    ],
)
def test_what_cannot_be_mended_is_said_with_and_without_leave(
    image: dict[str, Any], video: dict[str, Any], key: str, words: str, reason: str
) -> None:
    """No promise is made that would not be kept."""
    for prepare in (True, False):
        files = replace(IMAGE, **image), replace(VIDEO, **video)
        said = list(limits_broken(wish(prepare=prepare), *files))
        assert [found for found, _ in said] == ([key] if key else []), reason
        assert all(words in sentence and "prepare" not in sentence for _, sentence in said)


@pytest.mark.parametrize(
    ("trim", "orientation", "kept", "identity"),
    [
        ({"start": 2, "end": 6.5}, "image", (2, "6.5"), {"start": "2", "end": "6.5"}),
        ({"start": 1.25}, "image", ("1.25", "11.25"), {"start": "1.25"}),
        ({"start": 20}, "image", (20, 25), {"start": "20"}),
        ({"start": 2, "end": 12}, "image", (2, 12), {"start": "2"}),
        ({"end": 10}, "image", (0, 10), {}),
        ({"start": 0}, "video", (0, None), {}),
        ({"end": 10}, "video", (0, 10), {"end": "10"}),
    ],
)
def test_a_cut_is_part_of_what_is_wanted(
    trim: dict[str, Any], orientation: str, kept: tuple[Any, Any], identity: dict[str, str]
) -> None:
    """Another part is another wish; spelling out the part that would be kept anyway is not."""
    spec, film = wish(orientation, trim=trim), replace(VIDEO, seconds=Decimal(25))
    image, video = as_sent(spec, IMAGE, film)
    start, end = kept
    wanted = Preparation(Decimal(start), None if end is None else Decimal(end))
    assert (video.preparation or Preparation()) == wanted
    clip = canonical(spec, image, video)["video_url"]
    assert clip == {"sha256": film.sha256, **({"trim": identity} if identity else {})}


def test_leave_to_mend_changes_no_identity() -> None:
    """A library that was bought is not bought again because somebody writes `prepare: true` into its defaults."""
    mended: dict[str, Any] = {
        "codec": "hevc",
        "rotation": 90,
        "mirrored": True,
        "seconds": Decimal(12),
    }
    for film in (VIDEO, replace(VIDEO, **mended)):
        requests = [
            canonical(spec, *as_sent(spec, IMAGE, film))
            for spec in (wish(prepare=True), wish(prepare=False))
        ]
        assert requests[0] == requests[1]


@pytest.mark.parametrize(
    ("fields", "words", "reason"),
    [
        ({"prepare": False, "trim": {"end": 5}}, "needs `prepare: true`", "no leave"),
        ({"video_url": "HTTPS://e.com/v", "trim": {"end": 5}}, "local", "a URL is not touched"),
        ({"trim": {"start": 1, "end": 3.4}}, "leaves 2.4 s: 3 to 10 s", "too short"),
        (
            {"trim": {"end": 2}, "character_orientation": "video"},
            "leaves 2 s: 3 to 30 s",
            "told with the limit of its own orientation",
        ),
        ({"trim": {"start": 5, "end": 1}}, "leaves 0 s", "it ends before it begins"),
        ({"trim": {"end": 11}}, "3 to 10 s", "longer than the orientation allows"),
        ({"trim": {"start": 1, "end": 4}}, "", "the shortest"),
        ({"trim": {}}, "", "nothing is cut"),
    ],
)
def test_a_cut_that_cannot_be_is_an_error_whatever_the_film_is(
    fields: dict[str, Any], words: str, reason: str
) -> None:
    """Said at `trim`, before any file is opened."""
    said = list(motion_control.conflicts(wish(**fields), UNITS_PER_SECOND))
    assert [key for key, *_ in said] == (["trim"] if words else []), reason
    assert all(words in sentence for _, sentence, _ in said)


@pytest.mark.parametrize(
    ("trim", "sentence"),
    [
        ({"start": 1, "end": 6}, "`trim` ends at 6 s, and `a.mp4` lasts 5 s"),
        ({"start": 9}, "`trim` starts at 9 s, and `a.mp4` lasts 5 s"),
        ({"start": 5}, "`trim` starts at 5 s, and `a.mp4` lasts 5 s"),
        (
            {"start": 3},
            "`trim` starts at 3 s, and `a.mp4` lasts 5 s: at least 3 s have to be left",
        ),
        ({"start": 2}, ""),
        ({"start": 2.4}, ""),
        ({"start": 0, "end": 5}, ""),
        ({"start": 0, "end": 5.4}, ""),
    ],
)
def test_a_cut_that_the_film_does_not_hold_is_an_error(trim: dict[str, Any], sentence: str) -> None:
    """Said once, at `trim`, with both lengths."""
    said = list(limits_broken(wish(trim=trim), IMAGE, VIDEO))
    assert said == ([("trim", sentence)] if sentence else [])


def test_files_far_beyond_the_limits_are_not_read() -> None:
    """Neither with leave nor without is a film of five gigabytes hashed."""
    assert too_large(media_rules.VIDEO, 100 * MB, prepare=False) == ""
    assert "`prepare: true` compresses it" in too_large(media_rules.VIDEO, 101 * MB, prepare=False)
    assert too_large(media_rules.VIDEO, 101 * MB, prepare=True) == ""
    for prepare in (True, False):
        assert "at most" in too_large(media_rules.VIDEO, 5000 * MB, prepare=prepare)


@given(
    st.integers(1, 100_000), st.integers(1, 100_000), st.sampled_from([VIDEO_SIDES, IMAGE_SIDES])
)
def test_scaled_sides_are_even_within_the_range_and_keep_the_shape(
    width: int, height: int, sides: tuple[int, int]
) -> None:
    """Where the shape allows it at all; what lies within is moved by a pixel at most."""
    fitted = fit(width, height, sides)
    assert all(side % 2 == 0 for side in fitted)
    if max(width, height) / min(width, height) <= sides[1] / sides[0] * 0.95:
        assert sides[0] <= min(fitted)
        assert max(fitted) <= sides[1]
        assert fitted[0] / fitted[1] == pytest.approx(width / height, rel=0.02)
    if sides[0] <= min(width, height) and max(width, height) <= sides[1]:
        assert abs(fitted[0] - width) <= 1
        assert abs(fitted[1] - height) <= 1


def test_a_cut_is_exact_to_the_millisecond() -> None:
    """A number of YAML is what was written, not its nearest binary fraction."""
    assert Trim.model_validate({"start": 0.1, "end": 3.3333}) == Trim(
        start=Decimal("0.100"), end=Decimal("3.333")
    )
