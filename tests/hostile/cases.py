"""What every test here shares: how many cases it has, the guards that each runs under, and what may come of it.

A case calls the command in this process, as a shell would. It may end in an answer (exit status 0), in an error for people
(1, or 2 for a wrong call), and in nothing else: an exception, a hang or a bite at the machine's memory fails the test.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from click.testing import CliRunner
from hypothesis import HealthCheck, settings

from gpufleet.cli import main

TEN_SECONDS = timedelta(seconds=10)
"""Of one case: hundreds of times what it takes, and far below a hang."""
MOST_MEMORY_BYTES = 1 << 30
"""That one case may take on top of what the process has."""

FEWER = int(os.environ.get("GPUFLEET_FEWER_CASES", "1"))
"""Divides every count, for whoever works on these tests; the ordinary run leaves it at 1."""

declared: dict[str, int] = {}
"""Cases by test, as far as the modules are imported."""


def declare(test: str, cases: int) -> None:
    """Count the cases of a test that goes through a table by itself."""
    declared[test] = cases


def counted(cases: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A test of `cases` seeds: it is called with `case`, a generator of random numbers that only the seed decides."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        declared[f"{test.__module__}.{test.__qualname__}"] = cases

        def run(*args: Any, **kwargs: Any) -> None:
            for seed in range(max(1, cases // FEWER)):
                try:
                    test(*args, case=Random(f"{test.__qualname__} {seed}"), **kwargs)
                except Exception as error:
                    error.add_note(f"seed {seed}")
                    raise

        functools.update_wrapper(run, test)
        run.__signature__ = _without_case(test)  # type: ignore[attr-defined]
        return run

    return decorate


def drawn(cases: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A property of `cases` examples, always the same; goes above `given`. That all of them ran is a part of the test."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        declared[f"{test.__module__}.{test.__qualname__}"] = cases
        expected, ran = max(1, cases // FEWER), [0]
        inner = test.hypothesis.inner_test  # type: ignore[attr-defined]

        @functools.wraps(inner)
        def counting(*args: Any, **kwargs: Any) -> None:
            ran[0] += 1
            inner(*args, **kwargs)

        test.hypothesis.inner_test = counting  # type: ignore[attr-defined]
        configured = settings(
            max_examples=expected, deadline=TEN_SECONDS, derandomize=True, database=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        )(test)  # fmt: skip

        @functools.wraps(configured)
        def run(*args: Any, **kwargs: Any) -> None:
            ran[0] = 0
            configured(*args, **kwargs)
            assert ran[0] >= expected, f"{ran[0]} of {expected} cases were run"

        return run

    return decorate


def _without_case(test: Callable[..., Any]) -> Any:
    import inspect

    signature = inspect.signature(test)
    return signature.replace(parameters=[p for n, p in signature.parameters.items() if n != "case"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def is_answer(self) -> bool:
        """Whether it did what it was asked for."""
        return self.status == 0


def gpufleet(*arguments: str, stdin: bytes | None = None) -> Outcome:
    """Run the command under the guards, and hold its end to what is allowed."""
    with _guarded():
        result = CliRunner().invoke(main, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    found = Outcome(status=result.exit_code, stdout=result.stdout, stderr=result.stderr)
    assert found.status in (0, 1, 2, 3), found
    assert "Traceback" not in found.stderr
    if found.status == 1:
        assert _error_of(found), found
    if found.status == 2:
        assert "Error: " in found.stderr
    return found


def _error_of(found: Outcome) -> str:
    """The message of an error: `error: …` on standard error, or an object on standard output, in a batch among others."""
    for line in found.stdout.split("\n"):
        if line.startswith('{"error":'):
            return str(json.loads(line)["error"]["message"])
    return next((line for line in found.stderr.splitlines() if line.startswith("error: ")), "")


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """An end after ten seconds, and with more memory than any honest case needs."""

    def give_up(_: int, frame: FrameType | None) -> None:
        raise TimeoutError("the case hangs")

    before, (soft, hard) = signal.signal(signal.SIGALRM, give_up), resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_REAL, TEN_SECONDS.total_seconds())
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY_BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# What hostile values look like -------------------------------------------------------------------------------------

TEXTS = (
    "", " ", "x", "$(touch CANARY)", "`touch CANARY`", "'; touch CANARY; '", '"; touch CANARY; "', "$HOME ${HOME} $$",
    "a\nb", "a\r\nb", "\t", "\0", "\x1b[31mred", "\x7f", "{{ 7 * 7 }}", "{% raw %}", "%i %% %n", "\u2028", "\u2029", "\x85",
    "\ufeff", "\u202e", "été 世界 🚀", "- key: value", "key: value", "# comment", "*alias", "&anchor", "!!python/none", "EOF",
    "\nEOF\ntouch CANARY\n", "../../etc/passwd", "/dev/zero", "\\", "\\n", '\\"', "<script>", "x" * 5_000, "-", "--help",
    "null", "~", "yes", "no", "on", "off", "1e999", "-0", "0x10", "0o17", "1_000", "١٢", "NaN", "Infinity", "1:30:30",
    "2020-02-30", "2020-01-01T00:00:00Z", "8B", "-8B", "1e15B", "24GiB", "-1GiB", "1e400GiB", "0.7", "70%", "-1%", "1000%",
    "vpc-0123456789abcdef0", "ami-0123456789abcdef0", "arn:aws:ssm:us-east-1:123456789012:parameter/x", "us-east-1", "g6.xlarge",
)  # fmt: skip
"""Text that means something to a shell, a terminal, YAML, JSON, Jinja, systemd, or a parser of numbers."""
NUMBERS = (0, 1, -1, 2, 7, 10**6, -(10**6), 2**31, 2**53 + 1, 2**63, 10**30, 10**400, -(10**400), 0.0, -0.0, 0.5, 1e-300, 1e300,
           float("nan"), float("inf"), float("-inf"))  # fmt: skip
OTHERS: tuple[Any, ...] = (
    None, True, False, [], {}, [[]], [None], [1, 2], ["a", "a"], {"": ""}, {"a": None}, {"secure": "AAAB"}, {"a": {"b": {}}},
    [{"a": 1}], {"id": "x"}, {"__class__": "x"},
)  # fmt: skip
VALUES: tuple[Any, ...] = (*TEXTS, *NUMBERS, *OTHERS)


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside of this one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*before, key)
        yield from places(held, (*before, key))


def changed(document: Any, case: Random, *, values: tuple[Any, ...] = VALUES, most: int = 3) -> Any:
    """The document with one to `most` values dropped, replaced, doubled or moved."""
    document = json.loads(json.dumps(document))
    for _ in range(case.randint(1, most)):
        paths = list(places(document))
        if not paths:
            return document
        path = case.choice(paths)
        holder = functools.reduce(lambda value, key: value[key], path[:-1], document)
        match case.choice(("replace", "replace", "replace", "near", "drop", "swap", "add")):
            case "replace":
                holder[path[-1]] = case.choice(values)
            case "near":
                holder[path[-1]] = _near(holder[path[-1]], case)
            case "drop":
                del holder[path[-1]]
            case "swap":
                other = case.choice(paths)
                holder[path[-1]] = json.loads(json.dumps(functools.reduce(lambda v, key: v[key], other, document)))
            case "add" if isinstance(holder, dict):
                holder[case.choice(TEXTS)] = case.choice(values)
            case "add":
                holder.append(case.choice(values))
    return document


def _near(value: Any, case: Random) -> Any:
    if isinstance(value, bool) or value is None:
        return case.choice((not value, str(value), 0, 1))
    if isinstance(value, int | float):
        return case.choice((value + 1, value - 1, -value, value * 1000, value / 7, str(value), [value], float(value)))
    if isinstance(value, str):
        place = case.randint(0, len(value))
        return case.choice((value[:place], value[:place] + case.choice(TEXTS) + value[place:], value.upper(), [value]))
    return case.choice((str(value), [value], {"x": value}, None))


def damaged(raw: bytes, case: Random, *, pieces: tuple[bytes, ...] = ()) -> bytes:
    """The bytes of a file with one to four of them, or ranges of them, changed, cut, doubled or exchanged."""
    held = bytearray(raw)
    for _ in range(case.randint(1, 4)):
        place = case.randint(0, max(0, len(held) - 1))
        end = min(len(held), place + case.choice((1, 1, 4, 8, 40, 400)))
        match case.choice(("byte", "cut", "drop", "double", "piece", "piece", "bits")):
            case "byte":
                held[place:end] = case.randbytes(min(8, end - place))
            case "cut":
                del held[place + case.randint(0, 40) :]
            case "drop":
                del held[place:end]
            case "double":
                held[place:place] = held[place:end]
            case "piece" if pieces:
                held[place : case.choice((place, end))] = case.choice(pieces)
            case _ if held:
                held[place] ^= 1 << case.randint(0, 7)
    return bytes(held)
