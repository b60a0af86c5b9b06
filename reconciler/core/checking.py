"""Checking one request of a spec: what the model refuses becomes a sentence at the place where it was written."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from reconciler.core.documents import (
    Node,
    Problem,
    find,
    kind_of,
    nearest,
    nearest_key,
    said,
    texts,
)
from reconciler.core.identity import PREFIX, split_attempt
from reconciler.core.kinds import KINDS, Kind, Spec, keys_of, kind_named, spec_type
from reconciler.core.sources import Prices

# Of shells, Compose files, CI, Jinja and Go templates: what somebody who writes this expects to be replaced.
_PLACEHOLDER = re.compile(r"\$\{[^{}\n]*\}|\$\([^()\n]*\)|\$[A-Z_][A-Z0-9_]{2,}\b")
_BRACES = (("{{", "}}"), ("{%", "%}"))
_MOST_PROBLEMS = 100  # of one document that are told: a file may be wrong in ten thousand places


def kind_asked(document: Node) -> Kind:
    """Return the kind that a document names, or means by naming none."""
    return kind_named(find(document, ("kind",)).value)


def check(
    document: Node, prices: Prices, *, complete: bool = True
) -> tuple[Spec | None, list[Problem]]:
    """Validate one combination; problems stand where the offending key or value was written.

    `prices` name the models that may be sent. What need not be `complete` may lack required keys.
    """
    uncertain = list(itertools.islice(_uncertain(document), _MOST_PROBLEMS))
    kind = kind_asked(document)
    try:
        spec = spec_type(kind).model_validate(said(document))
    except ValidationError as error:
        found = [
            _problem(document, details, kind)
            for details in itertools.islice(_details(error, complete=complete), _MOST_PROBLEMS)
        ]
        known = {problem.key for problem in uncertain}
        return None, [*uncertain, *(one for one in found if one.key not in known)]
    if uncertain:
        return None, uncertain
    entries = document.value if isinstance(document.value, Mapping) else {}
    places = {key: entry.node.place for key, entry in entries.items()}
    problems = [
        Problem(places.get(key, document.place), key, sentence, meant)
        for key, sentence, meant in kind.conflicts(spec, prices)
    ]
    custom = spec.external_task_id
    if custom and (
        split_attempt(custom)[1] > 1 or custom.startswith(PREFIX) or not custom.strip(".")
    ):
        sentence = f"`external_task_id` must not consist of dots only, begin with `{PREFIX}` or end like an attempt (`-r2`): those are reserved"
        problems.append(Problem(places["external_task_id"], "external_task_id", sentence))
    return (None if problems else spec), problems


def _uncertain(document: Node) -> Iterator[Problem]:
    """Yield a problem for every text that may not be what its writer wanted to be sent."""
    if not isinstance(document.value, Mapping):
        return
    for key, entry in document.value.items():
        if key == "prompt" and entry.node.cut:
            sentence = (
                "a comment begins here and ends the unquoted `prompt` before it: put the text in quotes "
                "if the `#` belongs to it, or put the comment on a line of its own"
            )
            yield Problem(entry.node.cut, key, sentence)
        for text in texts(entry.node):
            if placeholder := _placeholder(str(text.value)):
                sentence = f"`{placeholder[:60]}` would be sent as it is, since nothing is replaced in a spec: write the value itself"
                yield Problem(text.place, key, sentence)


def _placeholder(text: str) -> str:
    """Return what somebody may expect to be replaced; empty where there is nothing of the kind. Linear in the text."""
    if found := _PLACEHOLDER.search(text):
        return found.group()
    for opening, closing in _BRACES:
        # Only the first of a line is tried: where it is never closed, none after it is.
        for line in text.split("\n") if opening in text and closing in text else ():
            begin = line.find(opening)
            end = line.find(closing, begin + len(opening)) if begin >= 0 else -1
            if end >= 0:
                return line[begin : end + len(closing)]
    return ""


def _details(error: ValidationError, *, complete: bool) -> Iterator[Any]:
    for details in error.errors(include_url=False, include_context=True):
        if complete or details["type"] != "missing" or len(details["loc"]) > 1:
            yield details


def _problem(document: Node, details: Any, kind: Kind) -> Problem:
    """Turn one of pydantic's errors into a sentence at a place."""
    path: tuple[str | int, ...] = details["loc"]
    key = ".".join(str(step) for step in path)
    holder = find(document, path[:-1])
    entry = holder.value.get(str(path[-1])) if isinstance(holder.value, Mapping) else None
    place, meant = find(document, path).place, ""
    given, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "missing":
            place, sentence = entry.key if entry else place, f"`{key}` is required"
        case "extra_forbidden":
            allowed = _keys_beside(path, kind)
            place, meant = entry.key if entry else place, nearest_key(str(path[-1]), allowed)
            sentence = f"`{key}` is not a key of a spec; the keys are: {', '.join(allowed)}"
        case "literal_error":
            allowed = _literals(str(path[0]), kind)
            written, meant = json.dumps(given, ensure_ascii=False)[:80], nearest(given, allowed)
            sentence = f"`{key}` is {written}: it can be {' or '.join(allowed)}"
        case "string_too_long":
            most = context["max_length"]
            sentence = f"`{key}` has {len(given):,} characters: at most {most:,} are allowed"
        case "string_pattern_mismatch":
            sentence = f"`{key}` may hold 1 to 64 letters, digits, `.`, `_` and `-`"
        case "too_long":
            most = context["max_length"]
            items = f"{context['actual_length']} items: at most {most}"
            sentence = f"`{key}` has {items} {'is' if most == 1 else 'are'} allowed"
        case "greater_than_equal":
            sentence = f"`{key}` is {given}: it must be at least {context['ge']}"
        case "less_than_equal":
            sentence = f"`{key}` is {given}: it must be at most {context['le']}"
        case other:
            wanted = _WANTED.get(other, details["msg"])
            sentence = f"`{key}` is {kind_of(given)}: it must be {wanted}"
    return Problem(place, key, sentence, meant)


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


def _keys_beside(path: Sequence[str | int], kind: Kind) -> tuple[str, ...]:
    """Return the keys that may stand where one is that is not known."""
    if len(path) == 1:
        return keys_of(kind)
    annotation = spec_type(kind).model_fields[str(path[0])].annotation
    (nested,) = (
        one
        for one in (annotation, *get_args(annotation))
        if isinstance(one, type) and issubclass(one, BaseModel)
    )
    return tuple(nested.model_fields)


def _literals(key: str, kind: Kind) -> tuple[str, ...]:
    if key == "kind":
        return tuple(KINDS)
    schema = spec_type(kind).model_json_schema()["properties"][key]
    return tuple(str(value) for value in schema.get("enum", ()))
