"""Traces from files: what is read, and what is said of a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.errors import RequirementError
from gpufleet.simulation.model import Bin
from gpufleet.simulation.trace import TokensPerRequest, read_trace
from tests.simulation.fleets import TRACES

BINNED = "t_s,requests,input_tokens_sum,output_tokens_sum\n"
REQUESTS = "t_s,input_tokens,output_tokens\n"


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "trace.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "bins", "requests"),
    [("azure2023_conv_10s", 351, 19366), ("azure2023_code_10s", 344, 8819), ("mooncake_conversation_10s", 354, 12031)],
)
def test_recorded_traces(name, bins, requests):
    trace = read_trace(TRACES / f"{name}.csv")
    assert (trace.name, trace.bin_seconds, len(trace.bins)) == (name, 10, bins)
    assert sum(b.requests for b in trace.bins) == requests


def test_bins_of_another_length(written):
    trace = read_trace(written(BINNED + "600,1,10,20\n900,0,,\n1200,2,30,40\n"))
    assert trace.bin_seconds == 300
    assert trace.bins == (Bin(1, 10, 20), Bin(0, 0, 0), Bin(2, 30, 40))


def test_requests_in_any_order_are_counted_in_bins(written):
    trace = read_trace(written(REQUESTS + "31.5,5,6\n5,1,2\n14.9,3,4\n"))
    assert trace.bins == (Bin(2, 4, 6), Bin(0, 0, 0), Bin(1, 5, 6))


def test_more_columns_in_another_order_with_a_byte_order_mark(written):
    text = "\ufeffuser,output_tokens_sum,requests,t_s,input_tokens_sum\r\nme,4,2,0,3\r\n"
    assert read_trace(written(text)).bins == (Bin(2, 3, 4),)


def test_unknown_tokens_are_the_mean_that_is_given(written):
    path = written(BINNED + "0,2,10,\n10,3,,\n")
    assert read_trace(path, TokensPerRequest(7, 100)).bins == (Bin(2, 10, 200), Bin(3, 21, 300))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (BINNED + "0,2,10,\n", 2, "--output-tokens-per-request"),
        (REQUESTS + "0,1,1\n3,,5\n", 3, "--input-tokens-per-request"),
        (BINNED + "0,1,1,1\n10,many,1,1\n", 3, "requests is no number"),
        (BINNED + "0,1,1,1\n10,-1,1,1\n", 3, "requests is no number"),
        (BINNED + "0,1,1,1\n10,,1,1\n", 3, "requests is no number"),
        (BINNED + "0,1,1,1\n10,1,inf,1\n", 3, "input_tokens_sum is no number"),
        (BINNED + "0,1,1,1\n10,1e15,1,1\n", 3, "requests is no number"),
        (REQUESTS + "0,1e308,1\n", 2, "input_tokens is no number"),
        (BINNED + "0,1,1,1\n1e9,1,1,1\n", 2, "at most 86400 s"),
        (BINNED + "0,1,1,1\n10,1,1,1\n30,1,1,1\n", 4, "t_s is not 10 s after the line before"),
        (BINNED + "10,1,1,1\n0,1,1,1\n", 2, "t_s is not"),
        (BINNED, 2, "the trace has no arrivals"),
        ("", 1, "the header names no trace"),
        ("time,count\n1,2\n", 1, "the header names no trace"),
        (REQUESTS + "0,1,1\n1700000000,1,1\n", 3, "the trace is too long"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(written, text, line, says):
    path = written(text)
    with pytest.raises(RequirementError) as error:
        read_trace(path)
    assert str(error.value).startswith(f"{path}:\nline {line}: ")
    assert says in str(error.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"t_s,requests\x00"])
def test_what_is_no_text_is_refused(written, content):
    with pytest.raises(RequirementError):
        read_trace(written(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequirementError, match=r"none\.csv"):
        read_trace(tmp_path / "none.csv")


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_no_request_is_lost(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    path.write_text(REQUESTS + "".join(f"{a},{b},{c}\n" for a, b, c in lines))
    bins = read_trace(path).bins
    sums = [sum(b[i] for b in bins) for i in range(3)]
    assert sums == [len(lines), sum(b for _, b, _ in lines), sum(c for _, _, c in lines)]
