"""The parts that all tasks stand on: channel, gate, lineage log, release, loop guard."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.kernel.runtime.channel import Channel, ChannelAborted, Signal, size_of
from sage.kernel.runtime.gate import TIMER, InputGate
from sage.kernel.runtime.lineage import DerivedLineage, LineageLog, OriginLineage
from sage.kernel.runtime.loops import LoopGuard
from sage.kernel.runtime.release import Release


def in_thread(function):
    thread = threading.Thread(target=function, name="sage-test")
    thread.start()
    return thread


@pytest.mark.parametrize("capacity", [1, 2, 7, 1024])
def test_two_threads_hand_over_everything_in_order(capacity):
    signal = Signal()
    channel = Channel(capacity=capacity, reader=signal)
    gate = InputGate(signal, [channel])

    def produce():
        for x in range(5000):
            channel.put(x)
        channel.close()

    thread = in_thread(produce)
    got = []
    while (taken := gate.next(512)) is not None:
        assert len(taken[1]) <= max(1, capacity)
        got += taken[1]
    thread.join(20)
    assert got == list(range(5000))


def test_the_gate_takes_from_all_channels_and_ends_with_the_last():
    signal = Signal()
    channels = [Channel(reader=signal) for _ in range(3)]
    gate = InputGate(signal, channels)
    ended = []
    gate.on_end = ended.append

    def produce(channel, base):
        for x in range(1000):
            channel.put(base + x)
        channel.close()

    threads = [in_thread(lambda i=i, c=c: produce(c, i * 1000)) for i, c in enumerate(channels)]
    got = [[], [], []]
    while (taken := gate.next(64)) is not None:
        got[taken[0]] += taken[1]
    for thread in threads:
        thread.join(20)
    assert got == [list(range(i * 1000, i * 1000 + 1000)) for i in range(3)]
    assert sorted(ended) == [0, 1, 2]


def test_a_deadline_wakes_the_gate():
    signal = Signal()
    gate = InputGate(signal, [Channel(reader=signal)])
    assert gate.next(1, deadline=0.0) == (TIMER, [])


def test_abort_wakes_both_sides():
    signal = Signal()
    channel = Channel(capacity=1, reader=signal)
    raised = []

    def produce():
        try:
            channel.put(1)
            channel.put(2)
        except ChannelAborted:
            raised.append(True)

    thread = in_thread(produce)
    channel.abort()
    thread.join(20)
    with pytest.raises(ChannelAborted):
        InputGate(signal, [channel]).next(1)
    assert raised == [True]


def test_a_dropped_channel_never_blocks_its_producer():
    channel = Channel(capacity=1)
    channel.drop()
    for x in range(100):
        channel.put(x)
    assert channel.items == []


def test_large_records_lower_the_limit():
    channel = Channel(capacity=100, max_bytes=10_000)
    channel.put(bytes(3000))
    channel.take(1)
    assert channel.limit == 3


def test_sizes_follow_containers():
    assert size_of([bytes(1000)] * 10) > 10_000
    assert size_of({"a": bytes(1000)}) > 1000
    cyclic = []
    cyclic.append(cyclic)
    assert size_of(cyclic) > 0


@given(
    batches=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30),
    takes=st.lists(st.integers(1, 7), max_size=60),
)
def test_the_log_resolves_every_record(batches, takes):
    """Whatever the producer begins and the consumer slices, each position keeps its id."""
    log, expected, position = LineageLog(), [], 0
    for count, derived in batches:
        origin = OriginLineage("s", 100 * len(expected))
        if derived:
            lineage = DerivedLineage(origin, [2 * i for i in range(count)])
            ids = [origin.resolve(2 * i) for i in range(count)]
        else:
            lineage, ids = origin, [origin.resolve(i) for i in range(count)]
        log.begin(position, lineage, 0)
        expected += ids
        position += count
    at = 0
    for most in takes:
        take = min(most, len(expected) - at)
        if take <= 0:
            break
        lineage, offset = log.slice(at, take)
        assert [lineage.resolve(offset + i) for i in range(take)] == expected[at : at + take]
        at += take


@given(order=st.permutations(range(12)), ordered=st.booleans())
def test_release_order(order, ordered):
    channel = Channel()
    release = Release({0: channel.items.append}, set(), {0: [channel]}, ordered)
    for seq in order:
        release.add(seq, [(OriginLineage("s"), seq, [(0, seq)])])
    assert channel.items == (list(range(12)) if ordered else list(order))
    assert channel.total == 12


@given(order=st.permutations(range(8)), failed=st.integers(0, 7))
def test_nothing_after_a_failed_item_is_released(order, failed):
    channel = Channel()
    release = Release({0: channel.items.append}, set(), {0: [channel]}, True)
    for seq in order:
        if seq == failed:
            release.stop_at = seq
            release.add(seq, [])
        else:
            release.add(seq, [(None, seq, [(0, seq)])])
    assert channel.items == list(range(failed))


def test_a_loop_closes_when_it_is_empty_and_its_inputs_ended():
    guard, outside, feedback = LoopGuard(), Channel(), Channel(unbounded=True)
    guard.add(outside, feedback=False, outside=True)
    guard.add(feedback, feedback=True, outside=False)
    outside.put_counted(1)
    guard.check()
    assert not feedback.closed
    outside.close()
    guard.check()
    assert not feedback.closed  # one record is still in it
    feedback.put_counted(1)
    outside.completed += 1
    guard.check()
    assert not feedback.closed
    feedback.completed += 1
    guard.check()
    assert feedback.closed
