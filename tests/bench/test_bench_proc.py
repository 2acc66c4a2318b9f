from __future__ import annotations

import os

import pytest

from bench import proc

# Of a kernel 6.18; the name is what any process may call itself.
STAT = (
    "4426 (a) b (c d) S 4408 4408 350 0 -1 4194304 101 0 0 0 1234 56 7 8 20 0 5 0 1213185 3133440 408 "
    "18446744073709551615 94367413624832 94367413644713 140720347099072 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)
STATUS = "Name:\tenvoy\nVmPeak:\t  999999 kB\nVmHWM:\t   70000 kB\nVmRSS:\t   60000 kB\nRssAnon:\t   50000 kB\n"
MACHINE = "cpu  100 1 20 700 30 4 5 6 50 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def test_a_stat_line_is_read_whatever_the_name_is() -> None:
    assert proc.parent_of(STAT) == 4408
    assert proc.ticks_of(STAT) == 1234 + 56  # not those of ended children


def test_resident_memory_is_in_bytes_and_none_of_a_process_that_ends() -> None:
    assert proc.resident_bytes_of(STATUS) == 60_000 * 1024
    assert proc.resident_bytes_of("Name:\tgone\nState:\tZ (zombie)\n") == 0


def test_the_machine_waits_idle_or_for_disks_and_guests_count_once() -> None:
    assert proc.idle_and_all(MACHINE) == (730, 866)


@pytest.mark.parametrize(("root", "found"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3]), (6, [6, 7])])
def test_a_tree_is_everything_below(root: int, found: list[int]) -> None:
    assert sorted(proc.descendants(root, {1: 0, 2: 1, 3: 1, 4: 2, 5: 4, 6: 0, 7: 6})) == found


def test_this_very_process_can_be_read() -> None:
    tree = proc.tree(os.getpid())
    assert tree[0] == os.getpid()
    assert proc.cpu_seconds(tree) > 0
    assert proc.resident_bytes(tree) > 10_000_000
    assert 0 <= proc.busy_share(0.01) <= 1
