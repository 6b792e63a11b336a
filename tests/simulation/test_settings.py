"""A plan's policies as the simulation has them, and its schedules in the seconds of a trace."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.plan import ScheduledCapacity
from gpufleet.simulation.model import Bounds, Step, Tracking
from gpufleet.simulation.schedules import Window, due_in, scheduled_bounds
from gpufleet.simulation.settings import left_out, settings_of
from tests.planner.documents import plan

NEW_YORK = ZoneInfo("America/New_York")
FRIDAY = Window(datetime(2026, 11, 27, 0, 0, tzinfo=NEW_YORK), 3 * 86400)
"""Three days from a Friday's midnight on; the first is in Bounds at second 0."""

DAY = {"name": "day", "days": ["mon-fri"], "time": "07:30", "timeZone": "America/New_York", "min": 3}
NIGHT = {"name": "night", "cron": "0 20 * * *", "timeZone": "America/New_York", "max": 4, "desired": 2}


def schedule(recurrence, zone="UTC", low=1, high=9):
    return ScheduledCapacity(name="s", recurrence=recurrence, time_zone=zone, min=low, max=high, desired=None)


def due(recurrence, zone="UTC", window=FRIDAY):
    return [at.astimezone(ZoneInfo(zone)).strftime("%a %H:%M") for at in due_in(schedule(recurrence, zone), window)]


def test_every_target_and_step_of_a_plan_is_there():
    scaling = {
        "min": 1, "max": 6, "desired": 2, "gpuUtilization": 60, "requestsPerTarget": 300, "requestsInFlight": 12, "kvCacheUtilization": 80,
        "waitingRequests": 4, "latency": {"percentile": "p95", "target": "8s"},
    }  # fmt: skip
    planned = plan(scaling=scaling)
    fleet = settings_of(planned, "prod")
    assert fleet.tracking == (
        Tracking("gpuUtilization", 60),
        Tracking("requestsPerTarget", 300),
        Tracking("requestsInFlight", 12),
        Tracking("kvCacheUtilization", 80),
    )
    assert (fleet.name, fleet.bounds, fleet.desired) == ("prod", (Bounds(0, 1, 6),), 2)
    assert (fleet.stepping.percentile, fleet.stepping.target_seconds) == ("p95", 8)
    assert fleet.stepping.steps == (Step(0, 4, 20), Step(4, 8, 50), Step(8, None, 100))
    assert fleet.stepping.min_requests == planned.scaling.latency.min_requests > 1
    assert (fleet.waiting.signal, fleet.waiting.target_seconds) == ("waitingRequests", 4)
    assert fleet.waiting.steps == (Step(0, 4, 20), Step(4, 12, 50), Step(12, None, 100))
    assert fleet.start_seconds == planned.timing.load_seconds
    assert fleet.warmup_seconds == planned.timing.instance_warmup_seconds
    assert fleet.kv_cache_tokens == planned.memory.kv_cache_tokens
    assert fleet.longest_request_seconds == planned.timing.longest_request_seconds
    assert fleet.price_usd_per_hour == pytest.approx(planned.cost.hourly.max / 6)
    assert left_out(planned) == ()


def test_cpu_utilisation_is_left_out_and_said():
    planned = plan(scaling={"cpuUtilization": 50})
    assert "cpuUtilization" not in {policy.signal for policy in settings_of(planned, "x").tracking}
    assert "scaling.cpuUtilization is left out" in left_out(planned)[0]


def test_schedules_need_the_start_of_the_trace():
    planned = plan(scaling={"min": 1, "max": 9, "schedules": [DAY, NIGHT]})
    assert settings_of(planned, "x").bounds == (Bounds(0, 1, 9),)
    assert "when the trace starts" in left_out(planned)[0]
    assert left_out(planned, FRIDAY) == ()


def test_schedules_are_bounds_from_their_second_on():
    planned = plan(scaling={"min": 1, "max": 9, "schedules": [DAY, NIGHT]})
    fleet = settings_of(planned, "x", window=FRIDAY)
    night, day = Bounds(0, 1, 4, 2), Bounds(0, 3, 9)
    assert fleet.bounds == (
        Bounds(0, 1, 4),
        day._replace(from_second=7.5 * 3600),
        night._replace(from_second=20 * 3600),
        night._replace(from_second=44 * 3600),
        night._replace(from_second=68 * 3600),
    )


def test_a_fleet_starts_within_what_the_last_schedule_before_it_left():
    weekly = [schedule("0 8 * * MON", low=5, high=7), schedule("0 8 * * TUE", low=2, high=3)]
    assert scheduled_bounds(weekly, Bounds(0, 1, 9), FRIDAY)[0] == Bounds(0, 2, 3)
    yearly = [schedule("0 8 1 12 *", low=5, high=7)]
    assert scheduled_bounds(yearly, Bounds(0, 1, 9), FRIDAY) == (Bounds(0, 5, 7),)
    never = [schedule("0 8 30 2 *", low=5, high=7)]
    assert scheduled_bounds(never, Bounds(0, 1, 9), FRIDAY) == (Bounds(0, 1, 9),)


@pytest.mark.parametrize(
    ("recurrence", "zone", "expected"),
    [
        ("30 7 * * 1-5", "America/New_York", ["Fri 07:30"]),
        ("30 7 * * MON-FRI", "Europe/Dublin", ["Fri 07:30"]),
        ("0 12 * * 0", "America/New_York", ["Sun 12:00"]),
        ("0 12 * * 7", "America/New_York", ["Sun 12:00"]),
        ("0 12 * * SAT,SUN", "America/New_York", ["Sat 12:00", "Sun 12:00"]),
        ("0 */8 28 NOV *", "America/New_York", ["Sat 00:00", "Sat 08:00", "Sat 16:00"]),
        ("15,45 9-10 28 * *", "America/New_York", ["Sat 09:15", "Sat 09:45", "Sat 10:15", "Sat 10:45"]),
        ("0 9 28 * SUN", "America/New_York", ["Sat 09:00", "Sun 09:00"]),
        ("50/5 9 28 * *", "America/New_York", ["Sat 09:50", "Sat 09:55"]),
        ("0 5 * * *", "UTC", ["Sat 05:00", "Sun 05:00"]),
        ("0 0 1 1 *", "UTC", []),
    ],
)
def test_when_a_recurrence_is_due(recurrence, zone, expected):
    """The window starts at 05:00 UTC of the Friday, and what is due then holds from the start."""
    assert due(recurrence, zone) == expected


def test_a_schedule_follows_summer_time():
    """The clocks go back on 2026-11-01: 08:00 is an hour later in UTC from then on."""
    window = Window(datetime(2026, 10, 31, 0, 0, tzinfo=ZoneInfo("UTC")), 3 * 86400)
    assert [at.hour for at in due_in(schedule("0 8 * * *", "America/New_York"), window)] == [12, 13, 13]


def test_a_day_on_which_the_clocks_go_back_has_an_hour_more():
    window = Window(datetime(2026, 11, 1, 0, 0, tzinfo=NEW_YORK), 25 * 3600)
    bounds = scheduled_bounds([schedule("0 8 * * *", "America/New_York")], Bounds(0, 1, 9), window)
    assert [b.from_second for b in bounds] == [0, 9 * 3600]
    assert (window.end - window.begin).total_seconds() == 25 * 3600


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(0, 366),
    st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York"]),
)
def test_a_daily_schedule_is_due_once_a_day(minute, hour, day, zone):
    window = Window(datetime(2026, 1, 1, 0, 0, 30, tzinfo=ZoneInfo("UTC")) + timedelta(days=day), 10 * 86400)
    times = list(due_in(schedule(f"{minute} {hour} * * *", zone), window))
    assert 9 <= len(times) <= 11
    assert times == sorted(times)
    if zone != "America/New_York":
        assert {(at.astimezone(ZoneInfo(zone)).hour, at.astimezone(ZoneInfo(zone)).minute) for at in times} == {
            (hour, minute)
        }
