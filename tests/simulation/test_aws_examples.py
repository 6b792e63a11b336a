"""The worked examples of AWS's own documentation, case by case.

EC2: Amazon EC2 Auto Scaling User Guide (docs.aws.amazon.com/autoscaling/ec2/userguide; its last public source is
awsdocs/amazon-ec2-auto-scaling-user-guide). CW: Amazon CloudWatch User Guide (awsdocs/amazon-cloudwatch-user-guide). Each test
names the page and its section.
"""

from __future__ import annotations

import pytest

from gpufleet.simulation.alarms import Alarm, state_of
from gpufleet.simulation.model import Bounds, Tracking
from gpufleet.simulation.policies import Group, decide
from gpufleet.simulation.stepping import change_for, step_for
from gpufleet.simulation.tracking import capacity_for
from tests.simulation.fleets import settings, slow

ADD_10_OR_30_PERCENT = slow((0, 10, 0), (10, 20, 10), (20, None, 30), percentile="", signal="waitingRequests")
"""Threshold 50: unchanged from 50, 10% more from 60, 30% more from 70."""


def group(desired, warm=None, in_service=None, starting=0, draining=0):
    in_service = desired - starting if in_service is None else in_service
    warm = in_service if warm is None else warm
    return Group(desired, warm, in_service, starting + in_service - warm, [in_service + draining] * 17)


def decided(fleet, now, bounds=None, **metrics):
    """The new desired capacity after 17 minutes of these metrics."""
    values = {p.signal: [metrics.get(p.signal)] * 17 for p in fleet.tracking}
    for policy in (fleet.stepping, fleet.waiting):
        if policy:
            values[policy.signal] = [metrics.get(policy.signal)] * 17
    verdict = decide(fleet, bounds or Bounds(0, 0, 100), now, values)
    return verdict.decision.capacity if verdict.decision else now.desired


class TestStepAdjustments:
    """EC2, as-scaling-simple-step, "Step adjustments": threshold 50, a group of 10."""

    fleet = settings(waiting=ADD_10_OR_30_PERCENT)

    @pytest.mark.parametrize("value", [50, 55, 59.9])
    def test_unchanged_between_40_and_60(self, value):
        assert decided(self.fleet, group(10), waitingRequests=value) == 10

    def test_at_60_one_more_of_10(self):
        assert decided(self.fleet, group(10), waitingRequests=60) == 11

    def test_at_70_after_the_warm_up_three_more_of_11(self):
        assert decided(self.fleet, group(11), waitingRequests=70) == 14

    @pytest.mark.parametrize(("current", "percent", "removed"), [(14, -10, -1), (13, -30, -3)])
    def test_what_the_scale_in_policy_removes(self, current, percent, removed):
        assert change_for(current, percent) == removed

    @pytest.mark.parametrize(("value", "percent"), [(50, 0), (59.9, 0), (60, 10), (69.9, 10), (70, 30), (1e6, 30)])
    def test_above_the_threshold_the_lower_bound_is_inclusive_and_the_upper_exclusive(self, value, percent):
        assert step_for(ADD_10_OR_30_PERCENT, value).percent == percent

    def test_below_the_threshold_nothing_is_added(self):
        assert step_for(ADD_10_OR_30_PERCENT, 49.9) is None


class TestStepWarmUp:
    """EC2, as-scaling-simple-step, "Instance warm-up": the same group, its 11th instance still warming up."""

    fleet = settings(waiting=ADD_10_OR_30_PERCENT)

    @pytest.mark.parametrize("now", [group(11, starting=1), group(11, warm=10)], ids=["starting", "in service"])
    def test_at_62_nothing_more(self, now):
        assert decided(self.fleet, now, waitingRequests=62) == 11

    @pytest.mark.parametrize("now", [group(11, starting=1), group(11, warm=10)], ids=["starting", "in service"])
    def test_at_70_only_the_difference_to_13(self, now):
        assert decided(self.fleet, now, waitingRequests=70) == 13


@pytest.mark.parametrize(
    ("exact", "rounded"), [(12.7, 12), (0.67, 1), (-0.58, -1), (-6.67, -6), (1.0, 1), (3.3, 3), (1.4, 1), (-3.9, -3)]
)
def test_rounding_of_a_percentage(exact, rounded):
    """EC2, as-scaling-simple-step, "Scaling adjustment types", note; the last ones from "Step adjustments"."""
    assert change_for(100, exact, least=0) == rounded


def test_ten_percent_of_ten():
    """EC2, as-scaling-simple-step, "Scaling adjustment types": 10 and 10 percent are 11."""
    assert 10 + change_for(10, 10) == 11


def test_minimum_adjustment():
    """EC2, as-scaling-simple-step, "Scaling adjustment types": 25 percent of 4, with a least increment of 2."""
    assert change_for(4, 25, least=2) == 2


class TestBounds:
    """EC2, as-scale-based-on-demand, "How scaling policies work"."""

    def test_example_1_of_3_more_only_one_fits_below_the_maximum(self):
        fleet = settings(waiting=slow((0, None, 150), percentile="", signal="waitingRequests"))
        assert change_for(2, 150) == 3
        assert decided(fleet, group(2), Bounds(0, 1, 3), waitingRequests=60) == 3

    def test_example_2_of_2_fewer_only_one_goes_above_the_minimum(self):
        fleet = settings(Tracking("requestsInFlight", 30))
        assert capacity_for(3, 10, 30) == 1
        assert decided(fleet, group(3), Bounds(0, 2, 5), requestsInFlight=10) == 2


class TestMultiplePolicies:
    """EC2, as-scale-based-on-demand, "Multiple scaling policies"."""

    def test_the_policy_that_launches_two_wins_over_the_one_that_launches_one(self):
        fleet = settings(
            Tracking("requestsInFlight", 10), waiting=slow((0, None, 10), percentile="", signal="waitingRequests")
        )
        assert decided(fleet, group(10), waitingRequests=60) == 11
        assert decided(fleet, group(10), waitingRequests=60, requestsInFlight=12) == 12

    def test_of_two_that_scale_in_the_one_that_keeps_more_wins(self):
        """One would terminate three of eight instances, the other 25 percent of them: two go."""
        fleet = settings(Tracking("requestsInFlight", 80), Tracking("gpuUtilization", 80))
        assert decided(fleet, group(8), requestsInFlight=50, gpuUtilization=60) == 6


class TestTargetTracking:
    """EC2, as-scaling-target-tracking, "Considerations"."""

    def test_one_and_a_half_instances_to_add_are_two(self):
        assert decided(settings(Tracking("gpuUtilization", 50)), group(3), gpuUtilization=75) == 5

    def test_one_and_a_half_instances_to_remove_are_one(self):
        assert decided(settings(Tracking("gpuUtilization", 50)), group(3), gpuUtilization=25) == 2

    def test_it_scales_out_when_any_policy_is_ready(self):
        fleet = settings(Tracking("gpuUtilization", 50), Tracking("requestsInFlight", 10))
        assert decided(fleet, group(4), gpuUtilization=10, requestsInFlight=20) == 8

    def test_it_scales_in_only_when_all_policies_are_ready(self):
        fleet = settings(Tracking("gpuUtilization", 50), Tracking("requestsInFlight", 10))
        assert decided(fleet, group(4), gpuUtilization=10, requestsInFlight=9.5) == 4
        assert decided(fleet, group(4), gpuUtilization=10, requestsInFlight=5) == 2

    def test_a_policy_whose_scale_in_is_disabled_has_no_say_in_it(self):
        fleet = settings(Tracking("gpuUtilization", 50), Tracking("requestsInFlight", 10, scales_in=False))
        assert decided(fleet, group(4), gpuUtilization=25, requestsInFlight=9.5) == 2
        assert decided(settings(Tracking("requestsInFlight", 10, scales_in=False)), group(4), requestsInFlight=1) == 4

    def test_without_data_nothing_scales_in(self):
        fleet = settings(Tracking("gpuUtilization", 50), Tracking("requestsInFlight", 10))
        assert decided(fleet, group(4), gpuUtilization=10, requestsInFlight=None) == 4

    def test_no_scale_in_while_a_scale_out_is_in_progress(self):
        """Same page, "Instance warm-up"; ec2-auto-scaling-default-instance-warmup: until all have warmed up."""
        fleet = settings(Tracking("gpuUtilization", 50))
        assert decided(fleet, group(4, starting=1), gpuUtilization=10) == 4
        assert decided(fleet, group(4, warm=3), gpuUtilization=10) == 4
        assert decided(fleet, group(4), gpuUtilization=10) == 1

    def test_terminating_instances_are_capacity_while_it_scales_in(self):
        """Same page, "Instance warm-up"."""
        fleet = settings(Tracking("gpuUtilization", 50))
        assert decided(fleet, group(5, draining=5), gpuUtilization=25) == 5
        assert decided(fleet, group(5), gpuUtilization=25) == 3

    def test_backlog_per_instance(self):
        """EC2, as-using-sqs-queue: a backlog of 1500 for 10 instances, 100 acceptable: five more."""
        assert decided(settings(Tracking("requestsInFlight", 100)), group(10), requestsInFlight=150) == 15


class TestAlarms:
    """CW, AlarmThatSendsEmail, "Evaluating an alarm" and "How alarm state is evaluated when data is missing"."""

    def test_the_figure_of_three_of_three(self):
        """Above the threshold in periods 3 to 5 of it, below in the 6th, above in the 9th alone."""
        values = [1, 2, 4, 4, 4, 2, 2, 2, 4, 2]
        alarm = Alarm(3, 3, "notBreaching")
        states = [state_of(alarm, [v > 3 for v in values[:end]]) for end in range(1, len(values) + 1)]
        assert [period for period, state in enumerate(states, 1) if state == "ALARM"] == [5]

    @pytest.mark.parametrize(
        ("points", "missing", "not_breaching"),
        [
            ("0-X-X", "OK", "OK"),
            ("0----", "OK", "OK"),
            ("-----", "INSUFFICIENT_DATA", "OK"),
            ("0XX-X", "ALARM", "ALARM"),
            ("----X", "INSUFFICIENT_DATA", "OK"),
        ],
    )
    def test_three_of_three_of_which_some_are_missing(self, points, missing, not_breaching):
        assert state_of(Alarm(3, 3, "missing"), read(points)) == missing
        assert state_of(Alarm(3, 3, "notBreaching"), read(points)) == not_breaching

    def test_an_old_breach_that_nothing_good_followed(self):
        assert state_of(Alarm(3, 3, "missing"), read("X----")) == "ALARM"

    @pytest.mark.parametrize(
        ("points", "missing", "not_breaching"),
        [
            ("0-X-X", "ALARM", "ALARM"),
            ("00X0X", "ALARM", "ALARM"),
            ("0-X--", "OK", "OK"),
            ("----0", "OK", "OK"),
            ("----X", "INSUFFICIENT_DATA", "OK"),
        ],
    )
    def test_two_of_three_of_which_some_are_missing(self, points, missing, not_breaching):
        assert state_of(Alarm(3, 2, "missing"), read(points)) == missing
        assert state_of(Alarm(3, 2, "notBreaching"), read(points)) == not_breaching


def read(points):
    return [{"0": False, "X": True, "-": None}[point] for point in points]
