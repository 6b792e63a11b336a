"""How a rollout goes, what AWS refuses beside an AMI that is read at launch, and capacity reservations."""

from __future__ import annotations

import pytest
from documents import plan
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.errors import RequirementError

RESERVATION = "cr-0123456789abcdef0"
GROUP = "arn:aws:resource-groups:us-east-1:123456789012:group/reserved-gpus"


def problems(**sections):
    with pytest.raises(RequirementError) as caught:
        plan(**sections)
    return {problem.path: problem for problem in caught.value.problems}


@given(smallest=st.integers(1, 50), more=st.integers(0, 50))
def test_no_rollout_takes_an_instance_before_its_successor_serves(smallest, more):
    rollout = plan(scaling={"min": smallest, "max": smallest + more}).rollout
    assert rollout.min_healthy_percent == 100
    assert rollout.max_healthy_percent > 100
    assert rollout.watches_alarms
    stops = rollout.checkpoint_percents
    if smallest + more < 8:
        assert stops == ()
        assert rollout.checkpoint_delay_seconds is None
    else:
        assert list(stops) == sorted(set(stops))
        assert stops[-1] == 100
        assert stops[0] * (smallest + more) >= 100, "the first stop comes after a whole instance"
        assert rollout.checkpoint_delay_seconds


def test_a_fleet_without_spare_quota_gives_instances_away_first_but_never_all():
    rollout = plan(scaling={"min": 4, "max": 4, "minHealthy": 75}).rollout
    assert (rollout.min_healthy_percent, rollout.max_healthy_percent) == (75, 100)
    for smallest in (0, 1):
        assert problems(scaling={"min": smallest, "max": 4, "minHealthy": 75})["scaling.minHealthy"].allowed == "100"
    assert problems(scaling={"min": 3, "max": 4, "minHealthy": 20})["scaling.minHealthy"].allowed == "34 to 100"


def test_an_image_read_at_launch_takes_what_aws_forbids_beside_it_away():
    planned = plan(instance={"ami": "launch"})
    assert planned.machine_image.at_launch
    assert planned.machine_image.id is None
    assert planned.machine_image.parameter.startswith("/aws/service/deeplearning/")
    assert not planned.rollout.skips_matching
    assert plan().rollout.skips_matching


def test_a_rollout_can_be_run_unwatched():
    assert not plan(scaling={"stopOnAlarm": False}).rollout.watches_alarms


def test_reservations_by_id_and_by_group():
    capacity = plan(instance={"capacityReservations": [RESERVATION, GROUP], "spotPercentage": 50}).capacity
    assert capacity.reservation_ids == (RESERVATION,)
    assert capacity.reservation_group_arns == (GROUP,)


@pytest.mark.parametrize(
    ("instance", "path", "says"),
    [
        ({"capacityReservations": ["cr-1"]}, "instance.capacityReservations.0", "not a valid value"),
        ({"capacityReservations": [RESERVATION, RESERVATION]}, "instance.capacityReservations", "named twice"),
        ({"capacityReservations": [GROUP.replace("us-east-1", "eu-west-1")]}, "instance.capacityReservations", "region"),
        (
            {"capacityReservations": [RESERVATION], "spotPercentage": 100},
            "instance.capacityReservations",
            "Spot instances never run",
        ),
    ],
)  # fmt: skip
def test_reservations_that_cannot_be_meant_are_refused(instance, path, says):
    assert says in problems(instance=instance)[path].message
