"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner import units


@pytest.mark.parametrize(
    ("parse", "given_", "expected"),
    [
        (units.parse_parameters, "8B", 8_000_000_000),
        (units.parse_parameters, "8.19B", 8_190_000_000),
        (units.parse_parameters, "350M", 350_000_000),
        (units.parse_parameters, 8190000000, 8_190_000_000),
        (units.parse_bytes, "24GiB", 24 * 1024**3),
        (units.parse_bytes, "80GB", 80 * 1000**3),
        (units.parse_bytes, "512 MiB", 512 * 1024**2),
        (units.parse_bytes, 4294967296, 4 * 1024**3),
        (units.parse_seconds, "2s", 2.0),
        (units.parse_seconds, "500ms", 0.5),
        (units.parse_seconds, "5m", 300.0),
        (units.parse_seconds, 2, 2.0),
        (units.parse_percent, "70%", 70.0),
        (units.parse_percent, 70, 70.0),
        (units.parse_share, "90%", 0.9),
        (units.parse_share, 0.9, 0.9),
        (units.parse_usd, "$3.00", 3.0),
        (units.parse_usd, 3, 3.0),
        (units.parse_count, "4", 4),
    ],
)
def test_what_people_write(parse, given_, expected):
    assert parse(given_) == expected


@pytest.mark.parametrize(
    ("parse", "given_", "says"),
    [
        (units.parse_parameters, 8, "write 8B"),
        (units.parse_parameters, "8GiB", "8.19B"),
        (units.parse_bytes, 24, "did you mean 24GiB"),
        (units.parse_bytes, "24", "did you mean 24GiB"),
        (units.parse_percent, 0.7, "write 70 or 70%"),
        (units.parse_percent, 101, "0 to 100"),
        (units.parse_share, 90, "write 0.9 or 90%"),
        (units.parse_share, "190%", "0 to 1"),
        (units.parse_seconds, "2 parsecs", "2s"),
        (units.parse_usd, 0, "more than 0"),
        (units.parse_count, 1.5, "whole number"),
        (units.parse_count, True, "whole number"),
        (units.parse_count, "inf", "whole number"),
        (units.parse_share, float("nan"), "share"),
        (units.parse_count, 10**400, "whole number"),
        (units.parse_parameters, "1e308T", "8.19B"),
        (units.parse_bytes, "1e308TB", "24GiB"),
        (units.parse_seconds, "1e308h", "2s"),
        (units.parse_count, "٣", "whole number"),
    ],
)
def test_what_is_refused_and_what_to_write_instead(parse, given_, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        parse(given_)


PARSERS = [
    units.parse_parameters, units.parse_bytes, units.parse_seconds, units.parse_percent,
    units.parse_share, units.parse_usd, units.parse_count, units.parse_number,
]  # fmt: skip


@given(
    st.sampled_from(PARSERS),
    st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers())),
)
def test_anything_is_a_number_or_a_value_error(parse, value):
    try:
        result = parse(value)
    except ValueError:
        return
    assert result == result
    assert abs(result) != float("inf")


@given(st.floats(0, 100).map(lambda p: round(p, 3)))
def test_a_percentage_with_its_sign_is_the_same_as_a_share(percent):
    assert units.parse_share(f"{percent}%") == pytest.approx(units.parse_percent(f"{percent}%") / 100)


@given(st.integers(1, 200), st.sampled_from([0.8, 0.75, 1.0]))
def test_rounding_down_never_exceeds_and_never_loses_a_step(vcpu, share):
    floored = units.floor_to(vcpu * share, 0.01)
    assert floored <= vcpu * share + 1e-9
    assert vcpu * share - floored < 0.01
