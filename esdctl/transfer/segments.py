"""Byte intervals fetched by several connections and handed on in order, in bounded memory.

Connections fetch segments; workers hand them to each interval's sink, in order. The first interval
gets all connections as long as its worker keeps pace. Once it has a backlog, the connections turn
to the next interval, and another worker with them: so inflating uses as many cores as the line
needs, and few intervals are half-done at any time.
"""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from esdctl.errors import IntegrityError
from esdctl.transfer.client import Http
from esdctl.transfer.retry import Stopped
from esdctl.transfer.thread_group import run_threads

LARGEST_SEGMENT = 3 * 2**20
SMALLEST_SEGMENT = 256 * 1024
MEMORY = 60 * 2**20  # bytes in all segments, arriving or waiting
BACKLOG = 2  # segments that wait for a worker before the connections turn elsewhere
TRIES = 2  # of an interval whose bytes were wrong


class ByteSource(Protocol):
    """A file at a server, or one on the disk."""

    size: int

    def read(self, start: int, end: int) -> Generator[bytes, None, None]:
        """Read the bytes from ``start`` up to ``end``."""


class Sink(Protocol):
    """Takes the bytes of one interval, in order."""

    def feed(self, data: memoryview) -> None:
        """The next bytes; their memory is used again afterwards."""

    def finish(self) -> None:
        """All bytes were fed."""

    def abandon(self) -> None:
        """The bytes were wrong, or the transfer ends; undo what is half-done."""


@dataclass(frozen=True)
class Interval:
    """Bytes up to ``end``, and who takes them.

    Args:
        end: where they end.
        begin: gives where they begin, and a new sink; called again when the bytes were wrong.
    """

    end: int
    begin: Callable[[], tuple[int, Sink]]


@dataclass(frozen=True, eq=False)
class _Segment:
    """A part of an interval, in a buffer that is used again."""

    buffer: bytearray
    size: int


@dataclass(eq=False)
class _Stream:
    """An interval under way."""

    interval: Interval
    sink: Sink
    to_fetch: int  # where the next segment begins that no connection has
    to_feed: int  # where the next segment begins that the sink takes
    ready: dict[int, _Segment] = field(default_factory=dict)
    arrived: int = 0  # bytes since the sink is new
    is_fed: bool = False  # a worker is at it
    tries: int = 1

    def backlog(self) -> int:
        """Segments that the sink could take now."""
        count, position = 0, self.to_feed
        while (segment := self.ready.get(position)) is not None:
            count += 1
            position += segment.size
        return count


def stream_intervals(
    http: Http,
    source: ByteSource,
    intervals: Sequence[Interval],
    total: int,
    arrived: Callable[[int], None],
    workers: int,
) -> None:
    """Fetch the intervals and feed their sinks; returns when all are finished.

    Args:
        http: the transfer's client.
        source: what is read.
        intervals: in the order of their bytes.
        total: bytes in all of them.
        arrived: told of bytes as they come; negative when bytes turned out to be void.
        workers: threads that feed sinks.

    Raises:
        IntegrityError: a sink refused its bytes, twice.
        NetworkError, NoRanges, SourceChanged: as ``RemoteFile.read``.
        StorageError: a sink could not write.
    """
    _Streams(http, source, intervals, total, arrived).run(workers)


class _Streams:
    def __init__(
        self,
        http: Http,
        source: ByteSource,
        intervals: Sequence[Interval],
        total: int,
        arrived: Callable[[int], None],
    ) -> None:
        self._http = http
        self._source = source
        self._waiting = list(reversed(intervals))
        self._active: list[_Stream] = []
        self._changed = threading.Condition()
        connections = http.options.connections
        self._segment = max(SMALLEST_SEGMENT, min(LARGEST_SEGMENT, MEMORY // (connections + 3)))
        self._room = max(connections + 3, MEMORY // self._segment)  # segments
        self._left = total
        self._arrived = arrived
        self._buffers: list[bytearray] = []

    def run(self, workers: int) -> None:
        connections = self._http.options.connections
        try:
            jobs = [self._fetch] * connections + [self._work] * workers
            run_threads(self._http, jobs, self._wake)
        finally:
            for stream in self._active:
                stream.sink.abandon()

    def _fetch(self) -> None:
        """One connection: take the next segment, read it, put it down."""
        while (job := self._next_segment()) is not None:
            stream, sink, start, end = job
            with self._changed:
                buffer = self._buffers.pop() if self._buffers else bytearray(self._segment)
            position = 0
            with closing(self._source.read(start, end)) as chunks:
                for chunk in chunks:
                    buffer[position : position + len(chunk)] = chunk
                    position += len(chunk)
                    self._arrived(len(chunk))
            with self._changed:
                if stream.sink is sink:
                    stream.ready[start] = _Segment(buffer, position)
                    stream.arrived += position
                else:  # the interval began again meanwhile
                    self._release(buffer)
                    self._arrived(-position)
                self._changed.notify_all()

    def _next_segment(self) -> tuple[_Stream, Sink, int, int] | None:
        with self._changed:
            while True:
                self._check_stop()
                if not self._active and not self._waiting:
                    return None
                stream = self._stream_to_fetch() if self._room > 0 else None
                if stream is not None:
                    break
                self._changed.wait(0.5)
            start = stream.to_fetch
            # Less at the end, so that all connections end together.
            fair = max(SMALLEST_SEGMENT, self._left // self._http.options.connections)
            stream.to_fetch = min(start + min(self._segment, fair), stream.interval.end)
            self._left -= stream.to_fetch - start
            self._room -= 1
            return stream, stream.sink, start, stream.to_fetch

    def _stream_to_fetch(self) -> _Stream | None:
        """The first interval that has something to fetch and no backlog; else any with some."""
        open_ones = [s for s in self._active if s.to_fetch < s.interval.end]
        for stream in open_ones:
            if stream.backlog() < BACKLOG:
                return stream
        if self._waiting:
            interval = self._waiting.pop()
            start, sink = interval.begin()
            stream = _Stream(interval, sink, start, start)
            self._active.append(stream)
            return stream
        return open_ones[0] if open_ones else None

    def _work(self) -> None:
        """One worker: take the next segment in order, feed it, until nothing is left."""
        while (stream := self._next_to_feed()) is not None:
            segment = stream.ready.pop(stream.to_feed)
            is_end = stream.to_feed + segment.size >= stream.interval.end
            try:
                with memoryview(segment.buffer)[: segment.size] as data:
                    stream.sink.feed(data)
                if is_end:
                    stream.sink.finish()
            except IntegrityError:
                if stream.tries >= TRIES:
                    raise
                self._begin_again(stream, segment)
                continue
            with self._changed:
                stream.to_feed += segment.size
                stream.is_fed = False
                self._release(segment.buffer)
                if is_end:
                    self._active.remove(stream)
                self._changed.notify_all()

    def _next_to_feed(self) -> _Stream | None:
        with self._changed:
            while True:
                self._check_stop()
                if not self._active and not self._waiting:
                    return None
                for stream in self._active:
                    if not stream.is_fed and stream.to_feed in stream.ready:
                        stream.is_fed = True
                        return stream
                self._changed.wait(0.5)

    def _begin_again(self, stream: _Stream, segment: _Segment) -> None:
        """Fetch an interval anew whose bytes were wrong."""
        stream.sink.abandon()
        with self._changed:
            for void in (segment, *stream.ready.values()):
                self._release(void.buffer)
            stream.ready.clear()
            reached = stream.to_fetch
            start, stream.sink = stream.interval.begin()
            stream.to_fetch = stream.to_feed = start
            self._left += reached - start
            stream.tries += 1
            self._arrived(-stream.arrived)
            stream.arrived = 0
            stream.is_fed = False
            self._changed.notify_all()

    def _release(self, buffer: bytearray) -> None:
        """A segment is done with; call it with the lock held."""
        self._buffers.append(buffer)
        self._room += 1

    def _wake(self) -> None:
        """Let threads that wait for one another look whether there is anything to wait for."""
        with self._changed:
            self._changed.notify_all()

    def _check_stop(self) -> None:
        if self._http.stop.is_set():
            raise Stopped
