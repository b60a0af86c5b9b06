"""What a spec may say, and the generations it declares.

`read_wishes` checks a merged document (spec over defaults) and multiplies it by `matrix`; the workspace then
finds the files it names; `declare` makes the generations. Problems are returned, never raised: one bad spec
must not stop the others.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.core.checking import check, kind_asked
from reconciler.core.documents import (
    Entry,
    Node,
    Place,
    Problem,
    kind_of,
    nearest_key,
    plain,
    weight,
)
from reconciler.core.generations import Generation
from reconciler.core.identity import canonical_generation, compute_external_task_id
from reconciler.core.kinds import (
    DEFAULT,
    MOST_RESULTS,
    NOT_MULTIPLIED,
    SCHEMA_KEY,
    Kind,
    Spec,
    default_prices,
    keys_of,
    kind_named,
)
from reconciler.core.naming import LONGEST_FILE_NAME, combination_label, output_path, receipt_path
from reconciler.core.sources import Prices, Source, estimate_units, length_of
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

    @property
    def kind(self) -> Kind:
        """What kind of a generation it is."""
        return kind_named(self.spec.kind)

    def take_label(self, take: int) -> str:
        """Return the label of a take (from 1): that of the combination, and its number where there are several."""
        return ".".join(filter(None, (self.label, str(take) if self.spec.takes > 1 else "")))


def read_wishes(
    document: Node, prices: Prices = DEFAULT.UNITS_PER_SECOND
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
    matrix, kind = entries.pop("matrix", None), kind_asked(document)
    axes, problems = _axes(matrix, kind)
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
    """Return what is wrong in a defaults file by itself: it may lack keys, but not misspell them."""
    if document.value is None:
        return []
    if not isinstance(document.value, Mapping):
        what = f"defaults are a mapping of keys to values; this is {kind_of(plain(document))}"
        return [Problem(document.place, "", what)]
    problems, entries = [], dict(document.value)
    entry = entries.get("external_task_id")
    if entry is not None and entry.node.value is not None:
        sentence = "`external_task_id` names one generation: it cannot be a default"
        problems.append(Problem(entry.key, "external_task_id", sentence))
    for key in ("matrix", SCHEMA_KEY):
        entries.pop(key, None)
    return problems + check(Node(entries, document.place), default_prices(), complete=False)[1]


def declare(wish: Wish, sources: Mapping[str, Source], prices: Prices) -> list[Generation]:
    """Return the generations of a wish whose media were found: one for each take."""
    kind, spec = wish.kind, wish.spec
    request = kind.canonical(spec, sources)
    generations = []
    for take in range(1, spec.takes + 1):
        canonical = canonical_generation(kind.NAME, request, take)
        generations.append(
            Generation(
                external_task_id=spec.external_task_id or compute_external_task_id(canonical),
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
        )
    return generations


def _axes(entry: Entry | None, kind: Kind) -> tuple[dict[str, tuple[Node, ...]], list[Problem]]:
    """Return the matrix as key to values, in the order written, and what is wrong with it."""
    if entry is None or entry.node.value is None:
        return {}, []
    if not isinstance(entry.node.value, Mapping):
        what = f"this is {kind_of(plain(entry.node))}"
        sentence = f"`matrix` must be a mapping of keys to lists; {what}"
        return {}, [Problem(entry.node.place, "matrix", sentence)]
    written = entry.node.value
    axes = {
        key: axis.node.value for key, axis in written.items() if isinstance(axis.node.value, tuple)
    }
    multiplied = [key for key in keys_of(kind) if key not in NOT_MULTIPLIED]
    problems = [found for key, axis in written.items() for found in _faults(key, axis, multiplied)]
    size = math.prod(len(values) for values in axes.values())
    if size > MOST_RESULTS:
        sentence = f"`matrix` makes {size} combinations: at most {MOST_RESULTS} are allowed"
        problems.append(Problem(entry.key, "matrix", sentence))
    return axes, problems


def _faults(key: str, axis: Entry, multiplied: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with one axis of a matrix."""
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
    longest = max((wish.take_label(wish.spec.takes) for wish in wishes), key=len)
    names = (receipt_path(spec), output_path(spec, longest, Role.WATERMARK))
    if max(len(name.rpartition("/")[2].encode()) for name in names) > LONGEST_FILE_NAME:
        sentence = "the name of the file is too long to name its results after: shorten it"
        return [Problem(Place(spec), "", sentence)]
    return []
