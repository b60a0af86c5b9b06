"""The checks of a spec, and the generations that it declares.

`read_wishes` checks a merged document and multiplies it by `matrix`; the workspace finds its files; `declare` makes
generations. Problems are returned, never raised: one bad spec must not stop the others.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from reconciler.core import documents, identity, kinds
from reconciler.core.documents import Entry, Node, Place, Problem, find, kind_of, nearest_key, plain
from reconciler.core.generations import Generation
from reconciler.core.media_rules import Prices, Source, estimate_units, length_of
from reconciler.core.naming import LONGEST_FILE_NAME, combination_label, output_path, receipt_path
from reconciler.core.states import Role

# Of shells, Compose files, CI, Jinja and Go templates: who writes one expects it to be replaced.
_PLACEHOLDER = re.compile(r"\$\{[^{}\n]*\}|\$\([^()\n]*\)|\$[A-Z_][A-Z0-9_]{2,}\b")
_BRACES = (("{{", "}}"), ("{%", "%}"))
_MOST_TOLD = 100  # problems of one document: a file may be wrong in ten thousand places
_MOST_PROBLEMS = 1000  # of all combinations, each counted as often as it is found
_MOST_LOOKED_AT = 100_000  # values of all combinations, once one of them is wrong


@dataclass(frozen=True, slots=True)
class Wish:
    """One valid combination of a spec's matrix; its media are not read yet."""

    spec: kinds.Spec
    label: str  # of the matrix values; empty for a spec's only generation
    media: Mapping[str, Node]  # what names or cuts a file, with the place that states each
    place: Place

    @property
    def kind(self) -> kinds.Kind:
        """Its kind."""
        return kinds.kind_named(self.spec.kind)

    def take_label(self, take: int) -> str:
        """Return the label of a take (from 1), with its number where there are several."""
        return ".".join(filter(None, (self.label, str(take) if self.spec.takes > 1 else "")))


def read_wishes(
    document: Node, prices: Prices = kinds.DEFAULT.UNITS_PER_SECOND
) -> tuple[list[Wish], list[Problem]]:
    """Return a wish for each combination of a document's matrix, and the problems; with any, wishes are missing."""
    if not isinstance(document.value, Mapping):
        what = "is empty" if document.value is None else f"is {kind_of(plain(document))}"
        sentence = f"a spec is a mapping of keys to values; this one {what}"
        return [], [Problem(document.place, "", sentence)]
    entries = dict(document.value)
    entries.pop(kinds.SCHEMA_KEY, None)
    matrix, kind = entries.pop("matrix", None), _kind_asked(document)
    axes, problems = _axes(matrix, kind)
    wishes: list[Wish] = []
    looked_at = 0
    for combination in itertools.product(*axes.values()) if not problems else ():
        chosen = dict(zip(axes, combination, strict=True))
        merged = entries | {key: Entry(node.place, node) for key, node in chosen.items()}
        combined = Node(merged, document.place)
        spec, found = _check(combined, prices)
        problems += found
        looked_at += documents.weight(combined)
        if len(problems) > _MOST_PROBLEMS or (problems and looked_at > _MOST_LOOKED_AT):
            break  # the rest would cost as much again, and nearly always say the same
        if spec is not None:
            values = {
                key: getattr(spec, key) if key in kind.LABELLED_AS_READ else plain(node)
                for key, node in chosen.items()
            }
            names = (*(one.name for one in kind.INPUTS), "trim")
            media = {key: merged[key].node for key in names if key in merged}
            wishes.append(Wish(spec, combination_label(values.values()), media, document.place))
    if not problems:
        if sum(wish.spec.takes for wish in wishes) == 1:
            wishes = [replace(wishes[0], label="")]
        problems = _naming_problems(wishes, entries)
    return wishes, sorted(set(problems))


def check_defaults(document: Node) -> list[Problem]:
    """Return the problems of a defaults file by itself, which may lack keys."""
    if document.value is None:
        return []
    if not isinstance(document.value, Mapping):
        what = f"defaults are a mapping of keys to values; this is {kind_of(plain(document))}"
        return [Problem(document.place, "", what)]
    problems, entry = [], document.value.get("external_task_id")
    if entry is not None and entry.node.value is not None:
        sentence = "`external_task_id` names one generation: it cannot be a default"
        problems.append(Problem(entry.key, "external_task_id", sentence))
    said = {
        key: one for key, one in document.value.items() if key not in {"matrix", kinds.SCHEMA_KEY}
    }
    return problems + _check(Node(said, document.place), kinds.default_prices(), complete=False)[1]


def declare(wish: Wish, sources: Mapping[str, Source], prices: Prices) -> list[Generation]:
    """Return the generations of a wish, one for each take."""
    kind, spec = wish.kind, wish.spec
    request = kind.canonical(spec, sources)
    takes = range(1, spec.takes + 1)
    canonicals = ((take, identity.canonical_generation(kind.NAME, request, take)) for take in takes)
    return [
        Generation(
            external_task_id=spec.external_task_id or identity.compute_external_task_id(canonical),
            canonical=canonical,
            spec=wish.place.file,
            label=wish.take_label(take),
            inputs=sources,
            callback_url=spec.callback_url,
            retries=spec.retries,
            estimated_units=estimate_units(kind.price(request), length_of(sources), prices),
            line=wish.place.line,
            suspended=spec.suspend,
        )
        for take, canonical in canonicals
    ]


def _kind_asked(document: Node) -> kinds.Kind:
    return kinds.kind_named(find(document, ("kind",)).value)


def _check(
    document: Node, prices: Prices, *, complete: bool = True
) -> tuple[kinds.Spec | None, list[Problem]]:
    """Validate one combination; unless `complete`, keys may be missing."""
    uncertain = list(itertools.islice(_uncertain(document), _MOST_TOLD))
    kind = _kind_asked(document)
    try:
        spec = kinds.spec_type(kind).model_validate(plain(document, only_said=True))
    except ValidationError as error:
        told: Iterable[Any] = error.errors(include_url=False)
        if not complete:
            told = (one for one in told if one["type"] != "missing" or len(one["loc"]) > 1)
        found = [_problem(document, one, kind) for one in itertools.islice(told, _MOST_TOLD)]
        known = {problem.key for problem in uncertain}
        return None, [*uncertain, *(one for one in found if one.key not in known)]
    if uncertain:
        return None, uncertain
    problems = [
        Problem(find(document, (key,)).place, key, sentence, meant)
        for key, sentence, meant in kind.conflicts(spec, prices)
    ]
    key, custom = "external_task_id", spec.external_task_id
    is_attempt = identity.split_attempt(custom)[1] > 1
    if custom and (is_attempt or custom.startswith(identity.PREFIX) or not custom.strip(".")):
        sentence = f"`{key}` must not consist of dots only, begin with `{identity.PREFIX}` or end like an attempt (`-r2`): those are reserved"
        problems.append(Problem(find(document, (key,)).place, key, sentence))
    return (None if problems else spec), problems


def _uncertain(document: Node) -> Iterator[Problem]:
    """Yield a problem for every text that was probably not meant to be sent as it is."""
    if not isinstance(document.value, Mapping):
        return
    for key, entry in document.value.items():
        if key == "prompt" and entry.node.cut:
            sentence = (
                "a comment begins here and ends the unquoted `prompt` before it: put the text in quotes "
                "if the `#` belongs to it, or put the comment on a line of its own"
            )
            yield Problem(entry.node.cut, key, sentence)
        for text in documents.texts(entry.node):
            if placeholder := _placeholder(str(text.value)):
                sentence = f"`{placeholder[:60]}` would be sent as it is, since nothing is replaced in a spec: write the value itself"
                yield Problem(text.place, key, sentence)


def _placeholder(text: str) -> str:
    """Return a placeholder of another program that the text holds, or an empty string. In linear time."""
    if found := _PLACEHOLDER.search(text):
        return found.group()
    for opening, closing in _BRACES:
        # Only a line's first one is tried: if it is not closed, no later one is.
        for line in text.split("\n") if opening in text and closing in text else ():
            begin = line.find(opening)
            end = line.find(closing, begin + len(opening)) if begin >= 0 else -1
            if end >= 0:
                return line[begin : end + len(closing)]
    return ""


def _problem(document: Node, details: Any, kind: kinds.Kind) -> Problem:
    """Return one of pydantic's errors as a problem at a place."""
    path: tuple[str | int, ...] = details["loc"]
    key = ".".join(str(step) for step in path)
    holder = find(document, path[:-1])
    entry = holder.value.get(str(path[-1])) if isinstance(holder.value, Mapping) else None
    place, meant = find(document, path).place, ""
    given, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "missing":
            place, fault = entry.key if entry else place, "is required"
        case "extra_forbidden":
            allowed = _keys_beside(path, kind)
            place, meant = entry.key if entry else place, nearest_key(str(path[-1]), allowed)
            fault = f"is not a key of a spec; the keys are: {', '.join(allowed)}"
        case "literal_error":
            field = kinds.spec_type(kind).model_fields[str(path[0])]
            allowed = tuple(kinds.KINDS) if key == "kind" else get_args(field.annotation)
            meant = documents.nearest(given, allowed)
            written = json.dumps(given, ensure_ascii=False)[:80]
            fault = f"is {written}: it can be {' or '.join(allowed)}"
        case "string_too_long":
            most = context["max_length"]
            fault = f"has {len(given):,} characters: at most {most:,} are allowed"
        case "string_pattern_mismatch":
            fault = "may hold 1 to 64 letters, digits, `.`, `_` and `-`"
        case "too_long":
            items, most = context["actual_length"], context["max_length"]
            fault = f"has {items} items: at most {most} {'is' if most == 1 else 'are'} allowed"
        case "greater_than_equal":
            fault = f"is {given}: it must be at least {context['ge']}"
        case "less_than_equal":
            fault = f"is {given}: it must be at most {context['le']}"
        case other:
            fault = f"is {kind_of(given)}: it must be {_WANTED.get(other, details['msg'])}"
    return Problem(place, key, f"`{key}` {fault}", meant)


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "is_instance_of": "a number of seconds",
    "finite_number": "a number of seconds",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "a mapping",
    "dict_type": "a mapping",
}


def _keys_beside(path: Sequence[str | int], kind: kinds.Kind) -> tuple[str, ...]:
    """Return the keys that are allowed in the place of an unknown one."""
    if len(path) == 1:
        return kinds.keys_of(kind)
    annotation = kinds.spec_type(kind).model_fields[str(path[0])].annotation
    (nested,) = (
        one
        for one in (annotation, *get_args(annotation))
        if isinstance(one, type) and issubclass(one, BaseModel)
    )
    return tuple(nested.model_fields)


def _axes(
    entry: Entry | None, kind: kinds.Kind
) -> tuple[dict[str, tuple[Node, ...]], list[Problem]]:
    """Return the matrix as key to values, and its problems."""
    if entry is None or entry.node.value is None:
        return {}, []
    written = entry.node.value
    if not isinstance(written, Mapping):
        sentence = (
            f"`matrix` must be a mapping of keys to lists; this is {kind_of(plain(entry.node))}"
        )
        return {}, [Problem(entry.node.place, "matrix", sentence)]
    listed = ((key, axis.node.value) for key, axis in written.items())
    axes = {key: values for key, values in listed if isinstance(values, tuple)}
    multiplied = [key for key in kinds.keys_of(kind) if key not in kinds.NOT_MULTIPLIED]
    problems = [found for key, axis in written.items() for found in _faults(key, axis, multiplied)]
    size = math.prod(len(values) for values in axes.values())
    if size > kinds.MOST_RESULTS:
        sentence = f"`matrix` makes {size} combinations: at most {kinds.MOST_RESULTS} are allowed"
        problems.append(Problem(entry.key, "matrix", sentence))
    return axes, problems


def _faults(key: str, axis: Entry, multiplied: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems of one axis of a matrix."""
    name, values = f"matrix.{key}", axis.node.value
    if key not in multiplied:
        sentence = f"`{key}` cannot be multiplied by a matrix"
        yield Problem(axis.key, name, sentence, nearest_key(key, multiplied))
    elif not isinstance(values, tuple) or not values:
        yield Problem(axis.node.place, name, f"`{name}` must be a list of at least one value")
    else:
        seen: set[str] = set()
        for node in values:
            if node.value is None and not node.cut:
                yield Problem(node.place, name, f"`{name}` lists an empty value: write the value")
            text = json.dumps(plain(node), sort_keys=True)
            if text in seen:
                yield Problem(node.place, name, f"`{name}` lists {text[:80]} twice")
            seen.add(text)


def _naming_problems(wishes: Sequence[Wish], entries: Mapping[str, Entry]) -> list[Problem]:
    """Return the problem with the names and the number of a spec's results, if any."""
    results = sum(wish.spec.takes for wish in wishes)
    place, key = wishes[0].place, ""
    spec, name = place.file, place.file.rpartition("/")[2]
    labels = Counter(wish.label for wish in wishes)
    longest = max((wish.take_label(wish.spec.takes) for wish in wishes), key=len)
    made = (receipt_path(name), output_path(name, longest, Role.WATERMARK))
    if results > kinds.MOST_RESULTS:
        key = "takes"
        sentence = (
            f"this spec asks for {results:,} results: at most {kinds.MOST_RESULTS:,} are allowed"
        )
    elif results > 1 and wishes[0].spec.external_task_id:
        key, place = "external_task_id", entries["external_task_id"].node.place
        sentence = f"`external_task_id` names one generation, but this spec declares {results}"
    elif not name.isprintable() or "\\" in spec:
        place = Place(spec)
        sentence = "the file's name holds a `\\` or a character that cannot be printed: rename it"
    elif twice := sorted(label for label, count in labels.items() if count > 1):
        key = "matrix"
        sentence = f"two combinations of `matrix` have the same name, `{twice[0]}`: they ask for the same thing"
    elif max(len(one.encode()) for one in made) > LONGEST_FILE_NAME:
        place = Place(spec)
        sentence = "the name of the file is too long to name its results after: shorten it"
    else:
        return []
    return [Problem(place, key, sentence)]
