"""The cheapest settings that keep the share."""

from __future__ import annotations

from functools import partial

import pytest

from gpufleet.simulation import dials
from gpufleet.simulation.judgement import share_within
from gpufleet.simulation.model import Bounds, Tracking
from gpufleet.simulation.search import search
from gpufleet.simulation.simulate import simulate
from tests.simulation.outcomes import SPEED, settings, stepping, trace

BURSTS = ([2.0] * 60 + [60.0] * 20) * 2


def searched(rates, **changed):
    told = []
    run = partial(simulate, trace=trace(rates), speed=SPEED)
    found = search(settings(**changed), run, 4.0, 0.99, told.append)
    assert told == list(range(1, found.tried + 1))
    return found, run


def test_a_bursty_load_gets_what_keeps_it_and_no_more():
    found, run = searched(BURSTS)
    assert found.before.share_within < 0.99 <= found.best.share_within
    assert found.keeps
    assert "scaling.min" in {change.key for change in found.changes}
    again = run(found.best.settings)
    assert (share_within(again, 4.0), again.instance_seconds) == found.best[1:]


def test_a_fleet_that_is_too_large_gets_cheaper():
    found, _ = searched([4.0] * 200, bounds=(Bounds(0.0, 8, 20),), desired=8)
    assert found.keeps
    assert found.best.instance_seconds < 0.6 * found.before.instance_seconds


def test_where_nothing_keeps_the_share_the_nearest_is_told():
    found, _ = searched([60.0] * 100, bounds=(Bounds(0.0, 1, 2),))
    assert not found.keeps
    assert found.best.share_within >= found.before.share_within


FULL = settings(
    tracking=(Tracking("requestsInFlight", 14.0), Tracking("kvCacheUtilization", 80.0)), stepping=stepping(), desired=2
)


@pytest.mark.parametrize("dial", dials.dials(FULL), ids=lambda dial: dial.key)
def test_a_dial_turns_its_own_key_and_nothing_else(dial):
    values = dial.values(FULL)
    assert values
    for value in values:
        turned = dial.set(FULL, value)
        assert dial.read(turned) == value
        assert {change.key for change in dials.changes(FULL, turned)} <= {dial.key}
        assert dial.set(turned, dial.read(FULL)) == dial.set(FULL, dial.read(FULL)) or dial.key == "scaling.min"


def test_a_schedule_decides_the_minimum_itself():
    scheduled = FULL._replace(bounds=(Bounds(0.0, 1, 4), Bounds(3600.0, 2, 4)))
    assert "scaling.min" not in {dial.key for dial in dials.dials(scheduled)}


def test_a_percentage_stays_one():
    turned = dials.with_targets(FULL, 1.5)
    assert [policy.target for policy in turned.tracking] == [21.0, 95.0]
