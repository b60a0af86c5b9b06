"""The one kind: the API's limits on media, its conflicts, its prices."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.core.media_rules import (
    IMAGE,
    VIDEO,
    Source,
    estimate_units,
    format_faults,
    length_remark,
    limit_faults,
    url_fault,
)
from reconciler.core.motion_control import SPANS, UNITS_PER_SECOND, price

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("image", "broken", "reason"),
    [
        (Source(size=1, width=300, height=300), "", "the smallest allowed"),
        (Source(size=10 * MB, width=750, height=300), "", "the heaviest, and as wide as 2.5:1"),
        (Source(size=1, width=300, height=750), "", "as tall as 1:2.5"),
        (Source(size=10 * MB + 1, width=300, height=300), "10 MB", "a byte too heavy"),
        (Source(size=1, width=299, height=600), "300 to 65536", "a pixel too narrow"),
        (Source(size=1, width=65_537, height=65_000), "300 to 65536", "a pixel too wide"),
        (Source(size=1, width=751, height=300), "2.5:1", "a pixel beyond the aspect ratio"),
        (Source(size=1, width=0, height=0), "300 to 65536", "no pixels at all"),
    ],
)
def test_an_images_limits(image: Source, broken: str, reason: str) -> None:
    """The API's limits of an image are known to the pixel and the byte, and the sentence names the one broken."""
    faults = limit_faults(IMAGE, image)
    assert bool(faults) == bool(broken), reason
    assert broken in "".join(faults)


def video(seconds: str | None, width: int = 1280, height: int = 720, size: int = 1) -> Source:
    length = None if seconds is None else Decimal(seconds)
    return Source(size=size, width=width, height=height, seconds=length)


@pytest.mark.parametrize(
    ("source", "orientation", "broken", "reason"),
    [
        (video("3"), "image", "", "the shortest"),
        (video("10"), "image", "", "the longest for an image's orientation"),
        (video("30"), "video", "", "the longest for a video's orientation"),
        (video(None), "image", "", "an unknown length is the provider's to judge"),
        (
            video("2.5"),
            "video",
            "",
            "nearest to the shortest: whole seconds decide, as in the bill",
        ),
        (video("10.01"), "image", "", "300 frames at 29.97 a second"),
        (video("2.499"), "image", "3 to 10 s", "a millisecond too short"),
        (video("10.5"), "image", "3 to 10 s", "a millisecond too long"),
        (video("30.5"), "video", "3 to 30 s", "a millisecond too long here too"),
        (video("5", 339, 720), "image", "340 to 3850", "a pixel too narrow"),
        (video("5", 3851, 720), "image", "340 to 3850", "a pixel too wide"),
        (video("5", size=100 * MB + 1), "image", "100 MB", "a byte too heavy"),
    ],
)
def test_a_videos_limits(source: Source, orientation: str, broken: str, reason: str) -> None:
    """The API's limits of a video are known, its length counted in whole seconds as the bill counts."""
    faults = limit_faults(VIDEO, source, SPANS[orientation])
    assert bool(faults) == bool(broken), reason
    assert broken in "".join(faults)


@pytest.mark.parametrize(
    ("url", "works", "reason"),
    [
        ("https://example.com/a.png", True, "plain"),
        ("HTTP://EXAMPLE.com:8080/a?b=c#d", True, "capitals, a port, a query"),
        ("https://例え.jp/絵.png", True, "as written, also beyond ASCII"),
        ("https://[::1]/a", True, "an IPv6 host"),
        ("https:///a.png", False, "no host"),
        ("https:a.png", False, "no host either"),
        ("https://[/a", False, "no URL at all"),
        ("https://example.com:99999999/a", False, "no such port"),
        ("https://example.com/a b.png", False, "a space"),
        ("https://example.com/a\nb", False, "a line break would reach a header or a log"),
        ("ftp://example.com/a.png", False, "another scheme"),
        ("https://example.com/" + "a" * 8_172, True, "a signed URL is long"),
        ("https://example.com/" + "a" * 8_173, False, "each of a thousand results would keep it"),
        ("data:image/png;base64,AAAA", False, "the API takes no data: URL"),
    ],
)
def test_what_can_be_a_url(url: str, works: bool, reason: str) -> None:
    """A URL that the provider could never fetch is refused before anything is bought."""
    assert (url_fault(url) == "") == works, reason


REQUEST = {"character_orientation": "image", "mode": "pro", "model_name": "kling-v2-6"}


@pytest.mark.parametrize(
    ("change", "seconds", "units", "reason"),
    [
        ({}, "5.312", "4.000", "0.8 a second"),
        ({"mode": "std"}, "9.066", "4.5", "0.5 for each of the nearest whole seconds, as observed"),
        ({"mode": "std"}, "9.5", "5", "ten are nearest"),
        ({}, "10.01", "8", "never dearer for a few frames"),
        ({"model_name": "kling-v3"}, "5", "6.000", "1.2 a second"),
        ({}, None, "8.000", "an unknown length costs at most 10 s"),
        ({"character_orientation": "video"}, None, "24.000", "or at most 30 s"),
        ({"model_name": "kling-v9"}, "5", "6.000", "an unknown model costs as the dearest known"),
    ],
)
def test_estimates(change: dict[str, str], seconds: str | None, units: str, reason: str) -> None:
    """An estimate follows the bills observed; a length or model that is not known counts as the dearest."""
    length = None if seconds is None else Decimal(seconds)
    assert estimate_units(price(REQUEST | change), length, UNITS_PER_SECOND) == Decimal(units), (
        reason
    )


def test_a_price_table_of_ones_own_is_honoured_and_an_empty_one_estimates_nothing() -> None:
    """The operator's price table replaces the built-in one as a whole."""
    own = {"kling-v2-6": {"pro": Decimal(2)}}
    assert estimate_units(price(REQUEST), Decimal(5), own) == Decimal(10)
    assert estimate_units(price(REQUEST), Decimal(5), {}) == 0
    assert estimate_units(price(REQUEST), Decimal(5), UNITS_PER_SECOND) == Decimal(4)


@pytest.mark.parametrize(
    ("result", "reference", "is_said", "reason"),
    [
        (3.1, Decimal("5.312"), True, "notably shorter"),
        (4.8, Decimal("5.312"), True, "just notably"),
        (4.9, Decimal("5.312"), False, "a few frames"),
        (5.4, Decimal("5.312"), False, "longer"),
        (3.1, None, False, "a reference at a URL"),
        (None, Decimal(5), False, "a result that only a receipt remembers"),
    ],
)
def test_a_result_is_compared_with_its_reference(
    result: float | None, reference: Decimal | None, is_said: bool, reason: str
) -> None:
    """What is notably shorter is said with both lengths, and that nothing is refunded."""
    said = length_remark(result, reference)
    assert bool(said) == is_said, reason
    assert not said or ("does not refund" in said and f"{result:.1f} s" in said)


@pytest.mark.parametrize(
    ("film", "words"),
    [
        (Source(codec="h264"), ""),
        (Source(codec="av1"), ""),
        (Source(codec="hevc"), "H.265"),
        (Source(codec="h264", rotation=270), "stored turned by 270°"),
        (Source(codec="h264", mirrored=True), "stored mirrored, which"),
        (Source(codec="h264", rotation=180, mirrored=True), "stored mirrored and turned by 180°"),
    ],
)
def test_only_what_is_known_to_be_refused_is_refused(film: Source, words: str) -> None:
    """H.265, rotated and mirrored streams; of other codecs nobody knows."""
    faults = format_faults(VIDEO, film)
    assert [words in fault for fault in faults] == ([True] if words else [])
