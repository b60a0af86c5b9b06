"""A name becomes due once it was quiet for the settle time: not earlier, not never."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.workspace.watch.watcher import Settling

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
    assert settling.due(SETTLE) == {"a"}
    assert settling.next_at() is None
