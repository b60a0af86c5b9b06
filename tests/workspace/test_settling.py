"""A name becomes due once it was quiet for the settle time: not earlier, not never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.workspace.settling import Settling

NAMES = st.sets(st.sampled_from("abcd"), max_size=3)
STEPS = st.lists(st.tuples(NAMES, st.integers(0, 1500)), max_size=30)
SETTLE = 1000  # ms


@given(STEPS)
def test_a_name_is_due_exactly_when_it_was_quiet_for_the_settle_time(
    steps: list[tuple[set[str], int]],
) -> None:
    """Measured from its last touch; and `next_at` names the moment of the first one."""
    settling, last, now = Settling(SETTLE), dict[str, int](), 5_000_000
    for names, passed in steps:
        settling.touch(names, now)
        last |= dict.fromkeys(names, now)
        assert settling.next_at() == (min(last.values()) + SETTLE if last else None)
        now += passed
        expected = {name for name, touched in last.items() if now - touched >= SETTLE}
        assert settling.due(now) == expected
        last = {name: touched for name, touched in last.items() if name not in expected}
        assert {name for name in "abcd" if name in settling} == last.keys()
        assert len(settling) == len(last)


@given(st.lists(st.tuples(NAMES, st.integers(-10_000_000, 10_000_000)), min_size=1, max_size=20))
def test_no_jump_of_the_clock_makes_a_name_wait_for_longer_than_the_settle_time(
    steps: list[tuple[set[str], int]],
) -> None:
    """Whatever the clock did, all that was touched is due one settle time after now."""
    settling, touched, now = Settling(SETTLE), set[str](), 20_000_000
    for names, jump in steps:
        settling.touch(names, now)
        touched = (touched | names) - settling.due(now := now + jump)
    next_at = settling.next_at()
    assert next_at is None or next_at <= now + SETTLE
    assert settling.due(now + SETTLE) == touched


def test_a_clock_that_goes_back_does_not_make_a_name_due_at_once() -> None:
    """What was touched just before, or after, still gets its quiet time."""
    settling = Settling(SETTLE)
    settling.touch({"a"}, 10_000)
    assert settling.due(4_000) == set()
    settling.touch({"b"}, 4_500)
    assert settling.next_at() == 5_000
    assert settling.due(4_999) == set()
    assert settling.due(5_000) == {"a"}
    assert settling.due(5_500) == {"b"}


def test_a_name_that_keeps_being_touched_is_never_due_and_holds_up_no_other() -> None:
    """A file under constant change is not read half written, and the files beside it do not wait for it."""
    settling = Settling(SETTLE)
    settling.touch({"still"}, 0)
    for now in range(0, 2000, 100):
        settling.touch({"busy"}, now)
    assert settling.due(2000) == {"still"}
    assert settling.due(2899) == set()
    assert settling.due(2900) == {"busy"}


def test_ten_thousand_touches_of_one_name_are_one_wait() -> None:
    """A storm of events about one file costs the memory and the wait of one event."""
    settling = Settling(SETTLE)
    for _ in range(10_000):
        settling.touch({"a"}, 0)
    assert len(settling) == 1
    assert settling.due(SETTLE) == {"a"}
    assert settling.next_at() is None
