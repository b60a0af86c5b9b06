"""What a spec may say, and the generations it declares.

`read_wishes` checks a merged document (spec over defaults) and multiplies it by `matrix`; the workspace then
finds the files it names; `declare` makes the generations. Problems are returned, never raised: one bad spec
must not stop the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.core.checking import Prices, check
from reconciler.core.documents import Entry, Node, Place, Problem, kind_of, plain, weight
from reconciler.core.generations import Generation
from reconciler.core.identity import canonical_generation, compute_external_task_id
from reconciler.core.matrix import read_axes
from reconciler.core.motion_control import (
    KIND,
    MEDIA_FIELDS,
    UNITS_PER_SECOND,
    Source,
    canonical_request,
    estimate_units,
)
from reconciler.core.naming import LONGEST_FILE_NAME, combination_label, output_path, receipt_path
from reconciler.core.spec_model import MOST_RESULTS, SCHEMA_KEY, Spec
from reconciler.core.states import Role

_MOST_PROBLEMS = 1000  # of all combinations, each counted as often as it is found
_MOST_LOOKED_AT = 100_000  # values of all combinations, once one of them is wrong


@dataclass(frozen=True, slots=True)
class Wish:
    """One combination of a spec's matrix, valid in itself; its media are not looked at yet."""

    spec: Spec
    label: str  # of the matrix values; empty for a spec's only generation
    media: Mapping[str, Node]  # what names or cuts a file, with the place that states each
    place: Place


def take_label(wish: Wish, take: int) -> str:
    """Return the label of a take (from 1): that of its combination, and its number where there are several."""
    return ".".join(filter(None, (wish.label, str(take) if wish.spec.takes > 1 else "")))


def read_wishes(
    document: Node, prices: Prices = UNITS_PER_SECOND
) -> tuple[list[Wish], list[Problem]]:
    """Check a merged document and return one wish for each combination of its matrix.

    `prices` name the models that may be sent. Where a key is wrong, the wishes are incomplete and must not be acted on.
    """
    if not isinstance(document.value, Mapping):
        what = "is empty" if document.value is None else f"is {kind_of(plain(document))}"
        return [], [
            Problem(document.place, "", f"a spec is a mapping of keys to values; this one {what}")
        ]
    entries = dict(document.value)
    entries.pop(SCHEMA_KEY, None)
    matrix_entry = entries.pop("matrix", None)
    axes, problems = read_axes(matrix_entry)
    wishes: list[Wish] = []
    looked_at = 0
    for combination in itertools.product(*axes.values()) if not problems else ():
        chosen = dict(zip(axes, combination, strict=True))
        merged = entries | {key: Entry(node.place, node) for key, node in chosen.items()}
        combined = Node(merged, document.place)
        spec, found = check(combined, prices)
        problems += found
        looked_at += weight(combined)
        if len(problems) > _MOST_PROBLEMS or (problems and looked_at > _MOST_LOOKED_AT):
            break  # the rest would cost as much again, and nearly always say the same
        if spec is not None:
            values = {key: plain(node) for key, node in chosen.items()}
            if (
                "keep_original_sound" in values
            ):  # a bare yes is a boolean in YAML, and a text in JSON
                values["keep_original_sound"] = spec.keep_original_sound
            media = {key: merged[key].node for key in (*MEDIA_FIELDS, "trim") if key in merged}
            wishes.append(Wish(spec, combination_label(values.values()), media, document.place))
    if not problems:
        if sum(wish.spec.takes for wish in wishes) == 1:
            wishes = [replace(wishes[0], label="")]
        problems = _naming_problems(wishes, entries)
    return wishes, sorted(set(problems))


def check_defaults(document: Node) -> list[Problem]:
    """Return what is wrong in a defaults file by itself: it may lack keys, but not misspell them."""
    if document.value is None:
        return []
    if not isinstance(document.value, Mapping):
        return [
            Problem(
                document.place,
                "",
                f"defaults are a mapping of keys to values; this is {kind_of(plain(document))}",
            )
        ]
    problems = []
    entry = document.value.get("external_task_id")
    if entry is not None and entry.node.value is not None:
        problems.append(
            Problem(
                entry.key,
                "external_task_id",
                "`external_task_id` names one generation: it cannot be a default",
            )
        )
    _, found = check(
        Node(
            {
                key: entry
                for key, entry in document.value.items()
                if key not in ("matrix", SCHEMA_KEY)
            },
            document.place,
        ),
        complete=False,
    )
    return problems + found


def declare(wish: Wish, image: Source, video: Source, prices: Prices) -> list[Generation]:
    """Return the generations of a wish whose media were found: one for each take."""
    request = canonical_request(wish.spec, image, video)
    generations = []
    for take in range(1, wish.spec.takes + 1):
        canonical = canonical_generation(KIND, request, take)
        generations.append(
            Generation(
                external_task_id=wish.spec.external_task_id or compute_external_task_id(canonical),
                canonical=canonical,
                spec=wish.place.file,
                label=take_label(wish, take),
                image=image,
                video=video,
                callback_url=wish.spec.callback_url,
                retries=wish.spec.retries,
                estimated_units=estimate_units(request, video.seconds, prices),
                line=wish.place.line,
                suspended=wish.spec.suspend,
            )
        )
    return generations


def _naming_problems(wishes: Sequence[Wish], entries: Mapping[str, Entry]) -> list[Problem]:
    """Return what is wrong with the names, and the number, of all that a spec asks for together."""
    results = sum(wish.spec.takes for wish in wishes)
    place, spec = wishes[0].place, wishes[0].place.file
    if results > MOST_RESULTS:
        sentence = f"this spec asks for {results:,} results: at most {MOST_RESULTS:,} are allowed"
        return [Problem(place, "takes", sentence)]
    if results > 1 and wishes[0].spec.external_task_id:
        sentence = f"`external_task_id` names one generation, but this spec declares {results}"
        return [Problem(entries["external_task_id"].node.place, "external_task_id", sentence)]
    if not spec.rpartition("/")[2].isprintable() or "\\" in spec:
        sentence = "the file's name holds a `\\` or a character that cannot be printed: rename it"
        return [Problem(Place(spec), "", sentence)]
    labels = [wish.label for wish in wishes]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        sentence = f"two combinations of `matrix` have the same name, `{twice[0]}`: they ask for the same thing"
        return [Problem(place, "matrix", sentence)]
    longest = max((take_label(wish, wish.spec.takes) for wish in wishes), key=len)
    names = (receipt_path(spec), output_path(spec, longest, Role.WATERMARK))
    if max(len(name.rpartition("/")[2].encode()) for name in names) > LONGEST_FILE_NAME:
        sentence = "the name of the file is too long to name its results after: shorten it"
        return [Problem(Place(spec), "", sentence)]
    return []
