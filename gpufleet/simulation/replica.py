"""Replicas that serve requests: a queue each, and continuous batching.

Owns how long requests take. Leaves how many replicas there are to `fleet`, and what is measured of them to `signals`.

Requests come in cohorts: a few seconds' arrivals with the same numbers of tokens. A cohort's fate is known when it arrives,
for queues are first in, first out: it takes the batch places that are free first, however small a part of them.

The law of a replica:
- At most `max_concurrency` requests are worked on at once. Where the KV cache has fewer places for requests of such a length,
  a request takes as many places as its share of the cache is (vLLM admits a request once its tokens have room).
- Prompts are read one after the other at the prefill rate.
- Each request in the batch then decodes at its full-batch rate, `decode_tokens_per_second / max_concurrency`, however many
  others there are: a decoding step reads all weights, so a smaller batch hardly makes it shorter, and nobody is promised
  a speed that was not measured. Where the speed of a request alone was measured too, a step's time grows linearly from
  that to the full batch's.
- Reading prompts takes the GPU from decoding: decoding is slowed by the share of time that prompts took lately, but a request
  never waits for more prompts than its batch has. So a full replica does the work that both rates allow, and no less.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from gpufleet.simulation.model import Bin, Speed

MEMORY_SECONDS = 30.0
"""Over which the share of time for prompts is averaged: some decoding steps, less than a scaling action takes."""

TOGETHER_SECONDS, TOGETHER_SHARE = 0.25, 0.02
"""Places that become free within it, or within that share of the time that a cohort waits for them, are taken as one: they are
free at their mean time."""

NOTHING = 1e-9

Answered = Callable[[float, float, float, float], None]
"""Called with the arrival, the requests, and their seconds to the first token and to the end."""


class Work(NamedTuple):
    """What one request of a cohort asks of a replica."""

    prefill_seconds: float
    output_tokens: float
    tokens: float
    """In the KV cache at its end."""
    places: float
    """Of the batch."""
    batch_prefill_seconds: float
    """Prompts of a whole batch of such requests."""


def work_of(arrivals: Bin, speed: Speed, kv_cache_tokens: int | None) -> Work:
    """The mean request of a bin."""
    if not arrivals.requests:
        return Work(0.0, 0.0, 0.0, 1.0, 0.0)
    inputs, outputs = arrivals.input_tokens / arrivals.requests, arrivals.output_tokens / arrivals.requests
    prefill, most = inputs / speed.prefill_tokens_per_second, float(speed.max_concurrency)
    share = (inputs + outputs) * most / kv_cache_tokens if kv_cache_tokens else 1.0
    places = min(max(1.0, share), most)
    return Work(prefill, outputs, inputs + outputs, places, prefill * most / places)


class Replicas:
    """Replicas that came into service together, in like state. Arrivals spread evenly over them.

    `count` of them; `waiting` and `running` requests and the `tokens` of the running are of all of them at the last
    `advance`.
    """

    def __init__(self, count: int, speed: Speed, in_service_at: float) -> None:
        self.count, self.in_service_at = count, in_service_at
        self.waiting = self.running = self.tokens = 0.0
        self._speed = speed
        full = speed.max_concurrency / speed.decode_tokens_per_second
        alone = speed.decode_tokens_per_second_alone
        self._step_full, self._step_alone = full, min(full, 1 / alone) if alone else full
        self._places: list[tuple[float, float]] = [(in_service_at, float(count * speed.max_concurrency))]
        self._starts: deque[tuple[float, float, float]] = deque()
        self._ends: list[tuple[float, float, float]] = []
        self._prefill_free = in_service_at
        self._prefill_load, self._load_at = 0.0, in_service_at

    @property
    def outstanding(self) -> float:
        """Requests of one replica, as the load balancer counts them."""
        return (self.waiting + self.running) / self.count

    @property
    def busy_share(self) -> float:
        """Of the replicas that run a request: requests go where nothing runs first."""
        return min(1.0, self.running / self.count)

    @property
    def drained_at(self) -> float:
        """When all of its requests will have ended."""
        return max((end for end, _, _ in self._ends), default=self.in_service_at)

    def advance(self, second: float) -> None:
        """Start and end what starts and ends until then."""
        starts, ends = self._starts, self._ends
        while starts and starts[0][0] <= second:
            _, requests, tokens = starts.popleft()
            self.waiting = max(0.0, self.waiting - requests)
            self.running += requests
            self.tokens += tokens
        while ends and ends[0][0] <= second:
            _, requests, tokens = heappop(ends)
            self.running = max(0.0, self.running - requests)
            self.tokens = max(0.0, self.tokens - tokens)
        if not ends:
            self.waiting = self.running = self.tokens = 0.0

    def accept(self, second: float, requests: float, work: Work, answered: Answered) -> None:
        """A cohort that arrives; `advance` must have come to this second."""
        left = requests * work.places
        while left > NOTHING:
            portions: list[tuple[float, float]] = []
            while left > NOTHING and self._places:
                start, taken = self._take(second, left)
                left -= taken
                if portions and start - portions[-1][0] < max(TOGETHER_SECONDS, TOGETHER_SHARE * (start - second)):
                    mean, places = portions[-1]
                    portions[-1] = ((mean * places + start * taken) / (places + taken), places + taken)
                else:
                    portions.append((start, taken))
            for start, places in portions:
                self._serve(second, start, places, work, answered)

    def _take(self, second: float, wanted: float) -> tuple[float, float]:
        free, places = heappop(self._places)
        if places > wanted:
            heappush(self._places, (free, places - wanted))
            places = wanted
        return max(second, free), places

    def _serve(self, arrival: float, start: float, places: float, work: Work, answered: Answered) -> None:
        requests = places / work.places
        each = requests / self.count
        begins = max(start, self._prefill_free)
        self._prefill_free = begins + each * work.prefill_seconds
        # Of several on one replica the mean one waits for half of the others.
        first = begins + work.prefill_seconds * (1 + max(0.0, each - 1) / 2)
        load = self._load(arrival, each * work.prefill_seconds)
        decode = work.output_tokens * self._step(arrival, start, each, work)
        slowed = decode * load / (1 - load) if load < 1 else math.inf
        end = first + decode + min(slowed, max(0.0, start + work.batch_prefill_seconds - first))
        heappush(self._places, (end, places))
        held = requests * (work.tokens - work.output_tokens / 2)
        if start <= arrival:
            self.running += requests
            self.tokens += held
        else:
            self.waiting += requests
            self._starts.append((start, requests, held))
        heappush(self._ends, (end, requests, held))
        answered(arrival, requests, first - arrival, end - arrival)

    def _load(self, second: float, seconds: float) -> float:
        """The share of time that one replica spent on prompts lately, with `seconds` more from now on."""
        kept = math.exp((self._load_at - second) / MEMORY_SECONDS) if second > self._load_at else 1.0
        self._prefill_load = self._prefill_load * kept + seconds / MEMORY_SECONDS
        self._load_at = second
        return self._prefill_load

    def _step(self, arrival: float, start: float, each: float, work: Work) -> float:
        """Seconds of one decoding step, at the batch that a request finds."""
        full, alone, most = self._step_full, self._step_alone, self._speed.max_concurrency
        if full == alone or most == 1:
            return full
        batch = self.running / self.count + each if start <= arrival else most / work.places
        return alone + (full - alone) * (min(max(batch, 1.0), most) - 1) / (most - 1)

    def split(self, count: int) -> float:
        """Take `count` of the replicas out, with their part of the requests; when those will have ended."""
        drained_at, kept = self.drained_at, (self.count - count) / self.count
        self.count -= count
        self.waiting *= kept
        self.running *= kept
        self.tokens *= kept
        self._places = [(free, places * kept) for free, places in self._places]
        self._starts = deque((start, requests * kept, tokens * kept) for start, requests, tokens in self._starts)
        self._ends = [(end, requests * kept, tokens * kept) for end, requests, tokens in self._ends]
        return drained_at

    def absorb(self, other: Replicas) -> None:
        """Take others in, whose state is much the same."""
        whole = self.count + other.count
        mine, theirs = self.count / whole, other.count / whole
        other._load(self._load_at, 0.0) if other._load_at < self._load_at else self._load(other._load_at, 0.0)
        self._prefill_load = self._prefill_load * mine + other._prefill_load * theirs
        self._prefill_free = self._prefill_free * mine + other._prefill_free * theirs
        self._places += other._places
        heapify(self._places)
        self._starts = deque(sorted([*self._starts, *other._starts]))
        self._ends += other._ends
        heapify(self._ends)
        self.waiting += other.waiting
        self.running += other.running
        self.tokens += other.tokens
        self.count = whole
        self.in_service_at = max(self.in_service_at, other.in_service_at)


def spread(requests: float, groups: Sequence[Replicas]) -> list[float]:
    """What each group gets of a cohort, so that as few requests as possible are outstanding on any replica."""
    order = sorted(range(len(groups)), key=lambda i: groups[i].outstanding)
    got = [0.0] * len(groups)
    counts, level = 0, 0.0
    for place, i in enumerate(order):
        counts += groups[i].count
        level += groups[i].outstanding * groups[i].count
        line = (level + requests) / counts
        if place + 1 == len(order) or line <= groups[order[place + 1]].outstanding:
            for j in order[: place + 1]:
                got[j] = max(0.0, (line - groups[j].outstanding) * groups[j].count)
            break
    return got
