"""Bytes that were whole once: cut, overwritten, repeated, and with foreign things put in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

_PLACE = st.floats(0, 1, allow_nan=False)
_Change = tuple[str, float, float, bytes]


def bytes_of(*fragments: bytes) -> st.SearchStrategy[bytes]:
    """Give foreign things: one of these fragments, or noise."""
    return (
        st.one_of(st.sampled_from(fragments), st.binary(max_size=12))
        if fragments
        else st.binary(max_size=12)
    )


def damaged(
    whole: st.SearchStrategy[bytes], foreign: st.SearchStrategy[bytes], most: int = 5
) -> st.SearchStrategy[bytes]:
    """Give whole bytes after some changes, each at a place that is a share of the length."""
    verb = st.sampled_from(sorted(_CHANGES))
    changes = st.lists(st.tuples(verb, _PLACE, _PLACE, foreign), min_size=1, max_size=most)
    return st.builds(_change, whole, changes)


def _change(data: bytes, changes: Sequence[_Change]) -> bytes:
    for verb, first, second, foreign in changes:
        begin, end = sorted((int(first * len(data)), int(second * len(data))))
        data = _CHANGES[verb](data, begin, end, foreign)
    return data


_CHANGES: dict[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "cut": lambda data, begin, end, _: data[:begin],
    "remove": lambda data, begin, end, _: data[:begin] + data[min(end, begin + 40) :],
    "insert": lambda data, begin, _, foreign: data[:begin] + foreign + data[begin:],
    "overwrite": lambda data, begin, _, foreign: (
        data[:begin] + foreign + data[begin + len(foreign) :]
    ),
    "repeat": lambda data, begin, end, _: data[:end] + data[begin:end] + data[end:],
    "flip": lambda data, begin, end, _: (
        data[:begin]
        + bytes(byte ^ (1 << (end % 8)) for byte in data[begin : begin + 1])
        + data[begin + 1 :]
    ),
    "zero": lambda data, begin, end, _: (
        data[:begin] + bytes(min(end - begin, 4096)) + data[begin + min(end - begin, 4096) :]
    ),
}
