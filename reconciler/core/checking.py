"""Checking one request of a spec: what the model refuses becomes a sentence at the place where it was written."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

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
from reconciler.core.motion_control import (
    UNITS_PER_SECOND,
    Element,
    Trim,
    WatermarkInfo,
    conflicts,
    model_fault,
)
from reconciler.core.spec_model import KEYS, Spec

# Of shells, Compose files, CI, Jinja and Go templates: what somebody who writes this expects to be replaced.
_PLACEHOLDER = re.compile(r"\$\{[^{}\n]*\}|\$\([^()\n]*\)|\$[A-Z_][A-Z0-9_]{2,}\b")
_BRACES = (("{{", "}}"), ("{%", "%}"))
_MOST_PROBLEMS = 100  # of one document that are told: a file may be wrong in ten thousand places

Prices = Mapping[str, Mapping[str, Decimal]]
"""Units per second of result, by model and mode."""


def check(
    document: Node, prices: Prices = UNITS_PER_SECOND, *, complete: bool = True
) -> tuple[Spec | None, list[Problem]]:
    """Validate one combination; problems stand where the offending key or value was written.

    `prices` name the models that may be sent. What need not be `complete` may lack required keys.
    """
    uncertain = list(itertools.islice(_uncertain(document), _MOST_PROBLEMS))
    try:
        spec = Spec.model_validate(said(document))
    except ValidationError as error:
        found = [
            _problem(document, details)
            for details in itertools.islice(_details(error, complete=complete), _MOST_PROBLEMS)
        ]
        known = {problem.key for problem in uncertain}
        return None, [*uncertain, *(one for one in found if one.key not in known)]
    if uncertain:
        return None, uncertain
    entries = document.value if isinstance(document.value, Mapping) else {}
    problems = [
        Problem(entries[key].node.place if key in entries else document.place, key, sentence)
        for key, sentence in conflicts(spec)
    ]
    if fault := model_fault(spec, prices):
        place = entries["model_name"].node.place if "model_name" in entries else document.place
        problems.append(Problem(place, "model_name", fault, nearest(spec.model_name, prices)))
    custom = spec.external_task_id
    if custom and (
        split_attempt(custom)[1] > 1 or custom.startswith(PREFIX) or not custom.strip(".")
    ):
        sentence = f"`external_task_id` must not consist of dots only, begin with `{PREFIX}` or end like an attempt (`-r2`): those are reserved"
        problems.append(
            Problem(entries["external_task_id"].node.place, "external_task_id", sentence)
        )
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
            return Problem(entry.key if entry else place, key, f"`{key}` is required")
        case "extra_forbidden":
            allowed = KEYS if len(path) == 1 else _nested_keys(path)
            sentence = f"`{key}` is not a key of a spec; the keys are: {', '.join(allowed)}"
            meant = nearest_key(str(path[-1]), allowed)
            return Problem(entry.key if entry else place, key, sentence, meant)
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
                f"`{key}` has {context['actual_length']} items: at most {context['max_length']} {'is' if context['max_length'] == 1 else 'are'} allowed",
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


_NESTED: Mapping[str, type[BaseModel]] = {
    "element_list": Element,
    "watermark_info": WatermarkInfo,
    "trim": Trim,
}
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


def _nested_keys(path: Sequence[str | int]) -> tuple[str, ...]:
    return tuple(_NESTED[str(path[0])].model_fields)


@functools.cache
def _literals(key: str) -> tuple[str, ...]:
    schema = Spec.model_json_schema()["properties"][key]
    return tuple(str(value) for value in schema.get("enum", [schema.get("const", "")]))
