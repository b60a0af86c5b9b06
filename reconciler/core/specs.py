"""What a spec may say, and the generations it declares.

`read_wishes` checks a merged document (spec over defaults) and multiplies it by `matrix`; the workspace then
finds the files it names; `declare` makes the generations. Problems are returned, never raised: one bad spec
must not stop the others.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, ValidationError

from reconciler.core.documents import Entry, Node, Place, Problem, find, kind_of, nearest, plain
from reconciler.core.identity import (
    PREFIX,
    canonical_generation,
    compute_external_task_id,
    split_attempt,
)
from reconciler.core.motion_control import (
    KIND,
    MEDIA_FIELDS,
    MotionControl,
    Source,
    canonical_request,
    conflicts,
    estimate_units,
)
from reconciler.core.states import Role

# In canonical JSON no value can imitate this: quotes inside a text are escaped.
_WATERMARKED = '"watermark_info":{"enabled":true}'

MOST_TAKES = 100
MOST_RETRIES = 10
MOST_RESULTS = 1000  # of one spec: a typing slip in a matrix must not become an order for thousands
LONGEST_LABEL = 100  # characters
LONGEST_FILE_NAME = 255  # bytes, on every common file system

_SAFE_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
_CUSTOM_ID = r"^[A-Za-z0-9._-]{1,64}$"  # pydantic searches: both anchors are needed
_NOT_MULTIPLIED = frozenset({"kind", "takes", "matrix", "retries", "external_task_id"})


class Spec(MotionControl):
    """A spec file: a request to the motion-control API and how many results are wanted."""

    takes: Annotated[
        int, Field(ge=1, le=MOST_TAKES, description="How many independent results.")
    ] = 1
    retries: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_RETRIES,
            description="New attempts allowed after the provider reports a failure.",
        ),
    ] = 0
    external_task_id: Annotated[
        str,
        Field(
            pattern=_CUSTOM_ID,
            description="An id of your own, for a single generation.",
        ),
    ] = ""
    matrix: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]],
        Field(description="One generation for every combination of these values."),
    ] = Field(default_factory=dict)


KEYS = tuple(Spec.model_fields)


@dataclass(frozen=True, slots=True)
class Wish:
    """One combination of a spec's matrix, valid in itself; its media are not looked at yet."""

    spec: Spec
    label: str  # of the matrix values; empty for a spec's only generation
    media: Mapping[str, Node]  # image_url and video_url, with the place that states each
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One wanted result: what is to be bought, and where it goes. Immutable and complete."""

    external_task_id: str  # the base id
    canonical: str  # canonical JSON of kind, request and take
    spec: str  # path of the spec, relative to the root
    label: str
    image: Source
    video: Source
    callback_url: str = ""
    retries: int = 0
    estimated_units: Decimal = Decimal(0)
    line: int = 1  # of the spec, where it begins

    @property
    def request(self) -> dict[str, Any]:
        """The canonical request."""
        request: dict[str, Any] = json.loads(self.canonical)["request"]
        return request

    def output(self, role: Role = Role.VIDEO) -> str:
        """Return the path of the published result, relative to the root."""
        return output_path(self.spec, self.label, role)

    @property
    def watermarked(self) -> bool:
        """Whether a watermarked copy is wanted too."""
        return _WATERMARKED in self.canonical

    @property
    def outputs(self) -> tuple[tuple[Role, str], ...]:
        """The (role, path) of every file that this generation publishes."""
        roles = (Role.VIDEO, Role.WATERMARK) if self.watermarked else (Role.VIDEO,)
        return tuple((role, self.output(role)) for role in roles)


def output_path(spec: str, label: str, role: Role = Role.VIDEO) -> str:
    """Return where a result is published: beside its spec, named after it and its label."""
    watermark = ".watermark" if role is Role.WATERMARK else ""
    return f"{_stem(spec)}{'.' if label else ''}{label}{watermark}.mp4"


def receipt_path(spec: str) -> str:
    """Return the path of a spec's receipt."""
    return f"{_stem(spec)}.receipt.json"


def _stem(spec: str) -> str:
    """Return a spec's path without its suffix."""
    stem, dot, suffix = spec.rpartition(".")
    return stem if dot and "/" not in suffix else spec


def label_part(value: object) -> str:
    """Return a matrix value as a part of a file name: itself where that is safe, else shortened and made unique."""
    text = (
        value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    )
    if _SAFE_LABEL.match(text):
        return text
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:16].strip("-")
    return "-".join(filter(None, (slug, hashlib.sha256(text.encode()).hexdigest()[:8])))


def _label(values: Iterable[object]) -> str:
    label = ".".join(label_part(value) for value in values)
    if len(label) <= LONGEST_LABEL:
        return label
    digest = hashlib.sha256(label.encode()).hexdigest()[:8]
    return f"{label[: LONGEST_LABEL - 9].rstrip('.-')}-{digest}"


def take_label(wish: Wish, take: int) -> str:
    """Return the label of a take (from 1): that of its combination, and its number where there are several."""
    return ".".join(filter(None, (wish.label, str(take) if wish.spec.takes > 1 else "")))


def read_wishes(document: Node) -> tuple[list[Wish], list[Problem]]:
    """Check a merged document and return one wish for each combination of its matrix.

    Where a key is wrong, the wishes are incomplete and must not be acted on.
    """
    if not isinstance(document.value, Mapping):
        what = "is empty" if document.value is None else f"is {kind_of(plain(document))}"
        return [], [
            Problem(document.place, "", f"a spec is a mapping of keys to values; this one {what}")
        ]
    entries = dict(document.value)
    matrix_entry = entries.pop("matrix", None)
    axes, problems = _axes(matrix_entry)
    wishes: list[Wish] = []
    for combination in itertools.product(*axes.values()) if not problems else ():
        chosen = dict(zip(axes, combination, strict=True))
        merged = entries | {key: Entry(node.place, node) for key, node in chosen.items()}
        spec, found = _check(Node(merged, document.place))
        problems += found
        if spec is not None:
            values = {key: plain(node) for key, node in chosen.items()}
            if (
                "keep_original_sound" in values
            ):  # a bare yes is a boolean in YAML, and a text in JSON
                values["keep_original_sound"] = spec.keep_original_sound
            media = {key: merged[key].node for key in MEDIA_FIELDS}
            wishes.append(Wish(spec, _label(values.values()), media, document.place))
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
    if "external_task_id" in document.value:
        place = document.value["external_task_id"].key
        problems.append(
            Problem(
                place,
                "external_task_id",
                "`external_task_id` names one generation: it cannot be a default",
            )
        )
    _, found = _check(
        Node(
            {key: entry for key, entry in document.value.items() if key != "matrix"}, document.place
        ),
        complete=False,
    )
    return problems + found


def declare(
    wish: Wish, image: Source, video: Source, prices: Mapping[str, Mapping[str, Decimal]]
) -> list[Generation]:
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
            )
        )
    return generations


def collisions(generations: Iterable[Generation]) -> list[Problem]:
    """Return a problem for every spec that would write what another writes, take its id, or feed on itself.

    File names that differ only in case count as the same: they are, on many file systems.
    """
    problems: list[Problem] = []
    writers: dict[str, Generation] = {}
    contents: dict[str, Generation] = {}
    inputs: dict[str, list[Generation]] = {}
    for generation in generations:
        for path in (receipt_path(generation.spec), *(path for _, path in generation.outputs)):
            other = writers.setdefault(path.casefold(), generation)
            if other.spec != generation.spec:
                problems += _both(other, generation, f"would write `{path}` too")
        twin = contents.setdefault(generation.external_task_id, generation)
        if twin.canonical != generation.canonical:
            sentence = f"uses `external_task_id: {generation.external_task_id}` for something else"
            problems += _both(twin, generation, sentence, "external_task_id")
        for source in (generation.image, generation.video):
            if source.path:
                inputs.setdefault(source.path.casefold(), []).append(generation)
    return sorted({*problems, *_circles(writers, inputs)})


def _circles(
    writers: Mapping[str, Generation], inputs: Mapping[str, Sequence[Generation]]
) -> Iterator[Problem]:
    """Yield a problem for every spec whose result leads, through other specs, back to its own input.

    Each new result would change the input and be bought again, for ever.
    """
    feeds: dict[str, set[str]] = {}  # spec -> the specs that read what it writes
    readers: dict[str, Generation] = {}
    for path in writers.keys() & inputs.keys():
        for reader in inputs[path]:
            feeds.setdefault(writers[path].spec, set()).add(reader.spec)
            readers[reader.spec] = reader
    for spec, reader in readers.items():
        reached, waiting = set[str](), [spec]
        while waiting:
            new = feeds.get(waiting.pop(), set()) - reached
            reached |= new
            waiting += new
        if spec in reached:
            sentence = "its result would overwrite its own input, and be bought again for ever: rename the input"
            yield Problem(Place(spec, reader.line), "", sentence)


def _both(one: Generation, other: Generation, what: str, key: str = "") -> list[Problem]:
    return [
        Problem(
            Place(here.spec, here.line),
            key,
            f"`{there.spec}` {what}; rename or change one of the two",
        )
        for here, there in ((one, other), (other, one))
    ]


def _axes(entry: Entry | None) -> tuple[dict[str, tuple[Node, ...]], list[Problem]]:
    """Return the matrix as key to values, in the order written, and what is wrong with it."""
    if entry is None or entry.node.value is None:
        return {}, []
    if not isinstance(entry.node.value, Mapping):
        return {}, [
            Problem(
                entry.node.place,
                "matrix",
                f"`matrix` is a mapping of keys to lists; this is {kind_of(plain(entry.node))}",
            )
        ]
    axes: dict[str, tuple[Node, ...]] = {}
    problems = []
    for key, axis in entry.node.value.items():
        if key in _NOT_MULTIPLIED or key not in KEYS:
            allowed = [name for name in KEYS if name not in _NOT_MULTIPLIED]
            problems.append(
                Problem(
                    axis.key,
                    f"matrix.{key}",
                    f"`{key}` cannot be multiplied by a matrix",
                    nearest(key, allowed),
                )
            )
        elif not isinstance(axis.node.value, tuple) or not axis.node.value:
            problems.append(
                Problem(
                    axis.node.place,
                    f"matrix.{key}",
                    f"`matrix.{key}` must be a list of at least one value",
                )
            )
        else:
            axes[key] = axis.node.value
            seen: set[str] = set()
            for node in axis.node.value:
                text = json.dumps(plain(node), sort_keys=True)
                if text in seen:
                    problems.append(
                        Problem(node.place, f"matrix.{key}", f"`matrix.{key}` lists {text} twice")
                    )
                seen.add(text)
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > MOST_RESULTS:
        problems.append(
            Problem(
                entry.key,
                "matrix",
                f"`matrix` makes {size} combinations: at most {MOST_RESULTS} are allowed",
            )
        )
    return axes, problems


def _check(document: Node, *, complete: bool = True) -> tuple[Spec | None, list[Problem]]:
    """Validate one combination; problems stand where the offending key or value was written.

    What need not be `complete` may lack required keys.
    """
    try:
        spec = Spec.model_validate(plain(document))
    except ValidationError as error:
        return None, [
            _problem(document, details)
            for details in error.errors(include_url=False, include_context=True)
            if complete or details["type"] != "missing" or len(details["loc"]) > 1
        ]
    entries = document.value if isinstance(document.value, Mapping) else {}
    problems = [
        Problem(entries[key].node.place if key in entries else document.place, key, sentence)
        for key, sentence in conflicts(spec)
    ]
    custom = spec.external_task_id
    if custom and (
        split_attempt(custom)[1] > 1 or custom.startswith(PREFIX) or not custom.strip(".")
    ):
        sentence = f"`external_task_id` must not be all dots, begin with `{PREFIX}` or end like an attempt (`-r2`): those are reserved"
        problems.append(
            Problem(entries["external_task_id"].node.place, "external_task_id", sentence)
        )
    return (None if problems else spec), problems


def _problem(document: Node, details: Any) -> Problem:
    """Turn one of pydantic's errors into a sentence at a place."""
    path: tuple[str | int, ...] = details["loc"]
    key = ".".join(str(step) for step in path)
    holder = find(document, path[:-1])
    entry = holder.value.get(str(path[-1])) if isinstance(holder.value, Mapping) else None
    place = find(document, path).place
    given, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "missing":
            return Problem(place, key, f"`{key}` is required")
        case "extra_forbidden":
            allowed = KEYS if len(path) == 1 else _nested_keys(path)
            sentence = f"`{key}` is not a key of a spec; the keys are: {', '.join(allowed)}"
            return Problem(entry.key if entry else place, key, sentence, nearest(path[-1], allowed))
        case "literal_error":
            allowed = _literals(str(path[0]))
            sentence = f"`{key}` is {json.dumps(given, ensure_ascii=False)[:80]}: it can be {' or '.join(allowed)}"
            return Problem(place, key, sentence, nearest(given, allowed))
        case "string_too_long":
            return Problem(
                place,
                key,
                f"`{key}` has {len(given):,} characters: at most {context['max_length']:,} are allowed",
            )
        case "string_pattern_mismatch":
            return Problem(
                place, key, f"`{key}` may hold 1 to 64 letters, digits, `.`, `_` and `-`"
            )
        case "too_long":
            return Problem(
                place,
                key,
                f"`{key}` has {context['actual_length']} items: at most {context['max_length']} is allowed",
            )
        case "greater_than_equal" | "less_than_equal":
            bound = context.get("ge", context.get("le"))
            return Problem(
                place,
                key,
                f"`{key}` is {given}: it must be at {'least' if 'ge' in context else 'most'} {bound}",
            )
        case _:
            wanted = _WANTED.get(details["type"], details["msg"])
            return Problem(place, key, f"`{key}` is {kind_of(given)}: it must be {wanted}")


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping",
    "dict_type": "a mapping",
}


def _nested_keys(path: Sequence[str | int]) -> tuple[str, ...]:
    return ("element_id",) if path[0] == "element_list" else ("enabled",)


@functools.cache
def _literals(key: str) -> tuple[str, ...]:
    schema = Spec.model_json_schema()["properties"][key]
    return tuple(str(value) for value in schema.get("enum", [schema.get("const", "")]))


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
    labels = [wish.label for wish in wishes]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        sentence = (
            f"two combinations of `matrix` have the same name, `{twice[0]}`: they ask for the same"
        )
        return [Problem(place, "matrix", sentence)]
    longest = max((take_label(wish, wish.spec.takes) for wish in wishes), key=len)
    names = (receipt_path(spec), output_path(spec, longest, Role.WATERMARK))
    if max(len(name.rpartition("/")[2].encode()) for name in names) > LONGEST_FILE_NAME:
        sentence = "the name of the file is too long to name its results after: shorten it"
        return [Problem(Place(spec), "", sentence)]
    return []


def with_prices(generation: Generation, prices: Mapping[str, Mapping[str, Decimal]]) -> Generation:
    """Return the generation with its estimate at these prices."""
    return replace(
        generation,
        estimated_units=estimate_units(generation.request, generation.video.seconds, prices),
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec, for editors."""
    document = Spec.model_json_schema()
    multiplied = {
        key: {"type": "array", "minItems": 1, "items": value}
        for key, value in document["properties"].items()
        if key not in _NOT_MULTIPLIED
    }
    document["properties"]["matrix"] |= {"properties": multiplied, "additionalProperties": False}
    document["properties"]["keep_original_sound"] = {
        "enum": ["yes", "no", True, False],
        "default": "yes",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "reconciler spec",
    }
