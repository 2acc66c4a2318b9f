from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from props import examples

from providers.errors import Malformed
from providers.sse import Splitter, comments_of, encode, parse

BOM = b"\xef\xbb\xbf"
LINES = st.one_of(
    st.sampled_from(
        [b"", b"", b"", b": comment", b":", b"event: x", b"data", b"data:", b"id: 7", b"retry: 3000", b"x"]
    ),
    st.text(alphabet='aé海🌊\u2028\u0085{}": ', max_size=8).map(lambda text: b"data: " + text.encode()),
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=30).map(lambda lines: b"".join(a + b for a, b in lines))
UNIFORM_STREAMS = st.tuples(st.lists(LINES, max_size=30), ENDS).map(lambda case: b"".join(a + case[1] for a in case[0]))


def feed(stream: bytes, sizes: list[int]) -> tuple[list[bytes], bytes]:
    """All events of ``stream`` fed in pieces of ``sizes`` bytes, again and again; and what was left."""
    splitter = Splitter()
    events: list[bytes] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        events += splitter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    return events, splitter.rest


def data_of(events: list[bytes]) -> list[bytes]:
    return [data for event in events if (data := parse(event)[1]) is not None]


def data_by_the_specification(stream: bytes) -> list[bytes]:
    """WHATWG's own algorithm, line by line, over the whole stream."""
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))[:-1]
    found: list[bytes] = []
    block: list[bytes] | None = None
    for line in lines:
        if not line:
            found += [] if block is None else [b"\n".join(block).strip()]
            block = None
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            block = [*(block or []), value.removeprefix(b" ")]
    return found


@examples(400)
@given(STREAMS | UNIFORM_STREAMS, st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_any_chunking_of_any_stream_gives_the_events_that_the_specification_gives(stream, sizes):
    events, rest = feed(stream, sizes)
    assert data_of(events) == data_by_the_specification(stream)
    assert b"".join(events) + rest == stream


@examples(200)
@given(STREAMS | UNIFORM_STREAMS)
def test_one_byte_at_a_time_or_all_at_once_makes_no_difference(stream):
    assert data_of(feed(stream, [1])[0]) == data_of(feed(stream, [len(stream) or 1])[0])


@examples(100)
@given(UNIFORM_STREAMS)
def test_a_byte_order_mark_at_the_start_vanishes(stream):
    assert feed(BOM + stream, [len(stream) + 3]) == feed(stream, [len(stream) or 1])


@pytest.mark.parametrize("sizes", [[1], [2], [1, 2, 9]], ids=str)
def test_a_byte_order_mark_that_comes_in_pieces_vanishes_too(sizes):
    """Once only the first read was searched, so that the first event was lost."""
    assert data_of(feed(BOM + b"data: first\n\ndata: second\n\n", sizes)[0]) == [b"first", b"second"]


def test_a_byte_order_mark_later_on_is_data():
    assert data_of(feed(b"data: a\n\ndata: " + BOM + b"b\n\n", [99])[0]) == [b"a", BOM + b"b"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=repr)
def test_each_event_is_handed_out_as_soon_as_it_is_whole(end):
    splitter = Splitter()
    event = b"data: a" + end + end
    assert splitter.feed(event[:-1]) == ([] if end != b"\r\n" else [event[:-1]])
    assert len(splitter.feed(event[-1:] + event)) == (2 if end != b"\r\n" else 1)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"], ids=repr)
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("over", [0, 2])
def test_an_event_may_be_as_large_as_the_limit_and_not_larger(end, size, over):
    limit = 64
    event = b"data: ".ljust(limit - len(end) + over, b"x") + end
    splitter = Splitter(limit)

    def feed_all():
        return [found for at in range(0, len(event), size) for found in splitter.feed(event[at : at + size])]

    if over:
        with pytest.raises(Malformed, match="larger than 64 bytes"):
            feed_all()
    else:
        # In single bytes a CRLF event is out before its last LF, which opens the next one.
        assert b"".join([*feed_all(), splitter.rest]) == event


def test_an_oversized_event_is_found_among_small_ones():
    with pytest.raises(Malformed):
        Splitter(20).feed(b"data: a\n\n" + b"data: ".ljust(40, b"x") + b"\n\n")


def test_many_events_in_one_read_may_exceed_the_limit_together():
    for end in (b"\n\n", b"\r\n\r\n"):
        assert len(Splitter(20).feed((b"data: a" + end) * 10)) == 10


@pytest.mark.parametrize(
    ("event", "raw", "data"),
    [
        (b"data: x\n\n", b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"data:x\n\n", b"x"),
        (b"data:  x \n\n", b"data:  x \n\n", b"x"),
        (b"data: x\r\n\r\n", b"data: x\r\n\r\n", b"x"),
        (b"data: x\r\r", b"data: x\r\r", b"x"),
        (b"data: a\ndata: b\n\n", b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\n\n", b"data\n\n", b""),
        (b"data:\n\n", b"data:\n\n", b""),
        (b"database: x\n\n", b"database: x\n\n", None),
        (b" data: x\n\n", b" data: x\n\n", None),
        (b": ping\n\n", b": ping\n\n", None),
        (b"event: x\n\n", b"event: x\n\n", None),
        (b"\n\n", b"\n\n", None),
        (b"event: x\ndata: 1\n\n", b"event: x\ndata: 1\n\n", b"1"),
        (b'data: "id: 1"\n\n', b'data: "id: 1"\n\n', b'"id: 1"'),
        (b"id: 1\ndata: x\n\n", b"data: x\n\n", b"x"),
        (b"data: x\nid: 1\n\n", b"data: x\n\n", b"x"),
        (b"id\ndata: x\nretry\n\n", b"data: x\n\n", b"x"),
        (b"retry: 3000\r\ndata: x\r\n\r\n", b"data: x\n\n", b"x"),
        (b"event: e\nid: 1\n: c\ndata: a\nretry: 1\ndata: b\n\n", b"event: e\n: c\ndata: a\ndata: b\n\n", b"a\nb"),
        (b"idea: 1\ndata: x\n\n", b"idea: 1\ndata: x\n\n", b"x"),
        (b"\ndata: x\r\n\r\n", b"\ndata: x\r\n\r\n", b"x"),
    ],
    ids=repr,
)
def test_parse(event, raw, data):
    assert parse(event) == (raw, data)


FIELDS = st.sampled_from([b": c", b"event: x", b"data: 1", b"data: 2", b"data", b"other: y"])
DROPPED = st.sampled_from([b"id: 1", b"id:", b"id", b"retry: 3", b"retry"])


@examples(200)
@given(st.lists(st.tuples(FIELDS | DROPPED, ENDS), min_size=1), ENDS)
def test_id_and_retry_lines_go_and_every_other_line_stays(lines, end):
    raw, data = parse(b"".join(line + line_end for line, line_end in lines) + end)
    kept = [line for line, _ in lines if not line.startswith((b"id", b"retry"))]
    assert [line for line in re.split(rb"\r\n|\n|\r", raw) if line] == kept
    assert raw.endswith((b"\n\n", b"\r\r", b"\r\n", b"\n\r"))
    assert data == parse(b"\n".join(kept) + b"\n\n")[1]


@pytest.mark.parametrize(
    ("event", "comments"),
    [
        (b": ping\n\n", b": ping\n\n"),
        (b":\r\n\r\n", b":\r\n\r\n"),
        (b": a\n: b\n\n", b": a\n: b\n\n"),
        (b"\n: ping\n\n", b"\n: ping\n\n"),
        (b": ping\nevent: x\n\n", b": ping\n\n"),
        (b"id: 1\r\n: ping\r\n\r\n", b": ping\n\n"),
        (b"event: x\n\n", b""),
        (b"retry: 1\n\n", b""),
        (b"\n\n", b""),
    ],
    ids=repr,
)
def test_of_an_event_without_data_only_its_comments_go_on(event, comments):
    assert comments_of(event) == comments


@pytest.mark.parametrize("name", [None, "response.created"])
def test_what_encode_makes_parse_reads(name):
    raw = encode(b'{"a":1}', name)
    assert Splitter().feed(raw) == [raw]
    assert parse(raw) == (raw, b'{"a":1}')
    assert raw.startswith(b"event: response.created\n" if name else b"data: ")
