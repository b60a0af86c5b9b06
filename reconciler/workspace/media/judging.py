"""Judging a file, or a sample of one, by its bytes, in the decoding process."""

from __future__ import annotations

from decimal import Decimal
from io import BufferedReader

from reconciler.core import media_rules
from reconciler.workspace.media import films
from reconciler.workspace.media.decoding import Answer
from reconciler.workspace.media.images import check_pixels, image_facts, image_format
from reconciler.workspace.media.verdicts import row_of


def judge(file: BufferedReader, medium: str) -> Answer:
    """Answer, in the decoding process, with a verdict's row. Raises `Flaw`."""
    if not media_rules.MEDIUMS[medium].codec:
        facts = image_facts(file)
        if not media_rules.limit_faults(media_rules.IMAGE, facts) and not media_rules.format_faults(
            media_rules.IMAGE, facts
        ):
            check_pixels(file)
    else:
        facts = films.film_facts(file)
        if facts.width * facts.height <= media_rules.PREPARABLE_PIXELS:  # a larger one is refused
            films.check_frames(file)
    return Answer(row_of(facts))


def sample(file: BufferedReader, name: str, whole: str, *span: str) -> Answer:
    """Answer, in the decoding process, with the faults of a sample (`whole`: of the real length). Raises `Flaw`."""
    medium = media_rules.MEDIUMS[name]
    found = films.film_format(file) if medium.codec else image_format(file)
    if strange := media_rules.format_faults(medium, media_rules.Source(format=found)):
        return Answer(strange)
    if not medium.codec:
        return Answer(as_ends(media_rules.limit_faults(medium, image_facts(file))))
    if whole:
        films.check_container(file)
    facts, (longest, when) = films.read_facts(file), span
    advised = [
        f"{fault}: transcode it to H.264 ({media_rules.TRANSCODE})"
        for fault in media_rules.format_faults(medium, facts)
    ]
    too_long = media_rules.limit_faults(medium, facts, media_rules.Span(Decimal(longest), when))
    return Answer([*advised, *as_ends(too_long)])


def as_ends(faults: list[str]) -> list[str]:
    """Return broken limits as sentences that follow a file's name."""
    return [f"breaks a limit: {fault}" for fault in faults]
