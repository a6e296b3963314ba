"""Processor time of process trees (bench/processor.py)."""

import os

from bench.processor import Stat, add_up, parse_stat, read_processor_seconds

LINE = (
    "4242 (a (b) c) S 41 4242 4242 0 -1 4194560 9 8 7 6 100 20 3 4 20 0 5 0 123456 1 2 3 4 5 6 7 8"
)


def test_the_ticks_are_those_of_the_process_and_of_its_ended_children() -> None:
    assert parse_stat(LINE) == Stat(pid=4242, parent=41, ticks=127)


def test_a_tree_counts_down_to_the_last_descendant_and_nothing_else() -> None:
    stats = [Stat(5, 4, 1), Stat(4, 3, 10), Stat(3, 1, 100), Stat(6, 3, 1000), Stat(7, 1, 10_000)]

    assert add_up(stats, 3) == 1111
    assert add_up(stats, 8) == 0


def test_this_process_has_used_some_time() -> None:
    assert read_processor_seconds({"this": os.getpid()})["this"] > 0
