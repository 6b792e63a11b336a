"""Groups, policies, hooks and instance refresh, through the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.emulator.running import Emulator

REGION = "eu-central-1"


@dataclass(frozen=True, slots=True)
class Fleet:
    """A group with a launch template, of a name of its own."""

    emulator: Emulator
    name: str

    @property
    def api(self) -> Any:
        return self.emulator.client("autoscaling", REGION)

    @property
    def group(self) -> dict[str, Any]:
        group: dict[str, Any] = self.api.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])[
            "AutoScalingGroups"
        ][0]
        return group

    def template(self, version: str) -> dict[str, str]:
        return {"LaunchTemplateName": self.name, "Version": version}

    def new_version(self) -> None:
        self.emulator.client("ec2", REGION).create_launch_template_version(
            LaunchTemplateName=self.name, SourceVersion="1", LaunchTemplateData={"InstanceType": "g6.2xlarge"}
        )

    def refresh(self, version: str, **preferences: Any) -> None:
        self.api.start_instance_refresh(
            AutoScalingGroupName=self.name,
            DesiredConfiguration={"LaunchTemplate": self.template(version)},
            Preferences=preferences,
        )

    def look(self) -> dict[str, Any]:
        refresh: dict[str, Any] = self.api.describe_instance_refreshes(AutoScalingGroupName=self.name)[
            "InstanceRefreshes"
        ][0]
        return refresh

    def statuses(self) -> list[str]:
        """The statuses that the newest refresh goes through until it ends."""
        seen: list[str] = []
        for _ in range(20):
            seen.append(self.look()["Status"])
            if seen[-1] not in ("Pending", "InProgress", "Cancelling", "RollbackInProgress"):
                break
        return list(dict.fromkeys(seen))

    def versions(self) -> list[str]:
        return [instance["LaunchTemplate"]["Version"] for instance in self.group["Instances"]]


@pytest.fixture
def fleet(emulator: Emulator) -> Iterator[Fleet]:
    """Two instances of template version 1 in two subnets."""
    fleet, ec2 = Fleet(emulator, f"fleet-{uuid4()}"), emulator.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"][:2]]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{i}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for i, zone in enumerate(zones)
    ]
    image = ec2.describe_images(Owners=["898082745236"])["Images"][0]["ImageId"]
    data = {"ImageId": image, "InstanceType": "g6.xlarge"}
    ec2.create_launch_template(LaunchTemplateName=fleet.name, LaunchTemplateData=data)
    fleet.api.create_auto_scaling_group(
        AutoScalingGroupName=fleet.name,
        LaunchTemplate=fleet.template("1"),
        MinSize=2,
        MaxSize=4,
        VPCZoneIdentifier=",".join(subnets),
        HealthCheckGracePeriod=0,
        DefaultInstanceWarmup=600,
        MaxInstanceLifetime=604800,
        InstanceMaintenancePolicy={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110},
        LifecycleHookSpecificationList=[
            {
                "LifecycleHookName": "boot",
                "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING",
                "HeartbeatTimeout": 900,
            }
        ],
    )
    yield fleet
    fleet.api.delete_auto_scaling_group(AutoScalingGroupName=fleet.name, ForceDelete=True)


def test_a_group_remembers_what_it_was_given(fleet: Fleet) -> None:
    group = fleet.group
    assert (group["HealthCheckGracePeriod"], group["DefaultInstanceWarmup"], group["MaxInstanceLifetime"]) == (
        0,
        600,
        604800,
    )
    assert group["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}
    [hook] = fleet.api.describe_lifecycle_hooks(AutoScalingGroupName=fleet.name)["LifecycleHooks"]
    assert (hook["LifecycleHookName"], hook["HeartbeatTimeout"], hook["DefaultResult"]) == ("boot", 900, "ABANDON")
    assert "NotificationTargetARN" not in hook


def test_a_name_is_given_once(fleet: Fleet) -> None:
    group = fleet.group
    with pytest.raises(ClientError, match="AlreadyExists"):
        fleet.api.create_auto_scaling_group(
            AutoScalingGroupName=fleet.name,
            LaunchTemplate=fleet.template("1"),
            MinSize=0,
            MaxSize=1,
            AvailabilityZones=[group["AvailabilityZones"][0]],
        )
    assert fleet.group == group


def test_instances_spread_over_the_subnets(fleet: Fleet) -> None:
    assert len({instance["AvailabilityZone"] for instance in fleet.group["Instances"]}) == 2


def test_a_refresh_replaces_every_instance(fleet: Fleet) -> None:
    old = {instance["InstanceId"] for instance in fleet.group["Instances"]}
    fleet.new_version()
    fleet.refresh("2", AutoRollback=True)
    assert fleet.statuses() == ["InProgress", "Successful"]
    assert fleet.versions() == ["2", "2"]
    assert old.isdisjoint(instance["InstanceId"] for instance in fleet.group["Instances"])
    assert fleet.look()["PercentageComplete"] == 100


def test_one_refresh_at_a_time_and_it_can_be_cancelled(fleet: Fleet) -> None:
    fleet.new_version()
    fleet.refresh("2")
    with pytest.raises(ClientError, match="InstanceRefreshInProgress"):
        fleet.refresh("2")
    fleet.api.cancel_instance_refresh(AutoScalingGroupName=fleet.name)
    assert fleet.statuses() == ["Cancelled"]
    assert fleet.versions() == ["1", "1"]
    with pytest.raises(ClientError, match="ActiveInstanceRefreshNotFound"):
        fleet.api.cancel_instance_refresh(AutoScalingGroupName=fleet.name)


def test_a_refresh_that_cannot_launch_rolls_back(fleet: Fleet) -> None:
    fleet.new_version()
    fault = {"service": "ec2", "action": "RunInstances", "code": "InsufficientInstanceCapacity", "contains": fleet.name}
    fleet.refresh("2", AutoRollback=True)
    fleet.emulator.control("POST", "faults", fault)
    assert fleet.statuses() == ["InProgress", "RollbackInProgress", "RollbackSuccessful"]
    assert fleet.versions() == ["1", "1"]
    activities = fleet.api.describe_scaling_activities(AutoScalingGroupName=fleet.name)["Activities"]
    assert "Failed" in [activity["StatusCode"] for activity in activities]


def test_rollback_needs_a_numbered_version(fleet: Fleet) -> None:
    with pytest.raises(ClientError, match="by number"):
        fleet.refresh("$Latest", AutoRollback=True)


@pytest.mark.parametrize(
    ("rolls_back", "ends"),
    [(True, ["InProgress", "RollbackInProgress", "RollbackSuccessful"]), (False, ["InProgress", "Failed"])],
)
def test_an_alarm_ends_a_refresh(fleet: Fleet, rolls_back: bool, ends: list[str]) -> None:
    cloudwatch, alarm = fleet.emulator.client("cloudwatch", REGION), f"errors-of-{fleet.name}"
    cloudwatch.put_metric_alarm(
        AlarmName=alarm, Namespace="AWS/ApplicationELB", MetricName="HTTPCode_Target_5XX_Count", Statistic="Sum",
        ComparisonOperator="GreaterThanThreshold", Threshold=5, Period=60, EvaluationPeriods=3,
    )  # fmt: skip
    fleet.new_version()
    fleet.refresh("2", AutoRollback=rolls_back, AlarmSpecification={"Alarms": [alarm]})
    assert fleet.look()["Status"] == "InProgress"
    fleet.look()
    assert fleet.versions().count("2") == 1
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a bad image")
    assert fleet.statuses() == ends[1:]
    assert fleet.versions().count("2") == (0 if rolls_back else 1)
    assert alarm in fleet.look()["StatusReason"]


def test_rollback_needs_an_image_by_id(fleet: Fleet) -> None:
    fleet.emulator.client("ec2", REGION).create_launch_template_version(
        LaunchTemplateName=fleet.name, SourceVersion="1", LaunchTemplateData={"ImageId": "resolve:ssm:/golden/ami"}
    )
    with pytest.raises(ClientError, match="AMI id"):
        fleet.refresh("2", AutoRollback=True)


@pytest.mark.parametrize("preferences", [{"CheckpointPercentages": [50, 20, 100]}, {"CheckpointDelay": 600}])
def test_checkpoints_are_ascending_and_their_delay_comes_with_them(fleet: Fleet, preferences: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="ValidationError"):
        fleet.refresh("1", **preferences)


def test_policies_of_two_groups_may_have_one_name(fleet: Fleet) -> None:
    other = f"other-{uuid4()}"
    fleet.api.create_auto_scaling_group(
        AutoScalingGroupName=other,
        LaunchTemplate=fleet.template("1"),
        MinSize=0,
        MaxSize=1,
        AvailabilityZones=[f"{REGION}a"],
    )
    arns = set()
    for name in (fleet.name, other):
        arns.add(
            fleet.api.put_scaling_policy(
                AutoScalingGroupName=name, PolicyName="scale", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1
            )["PolicyARN"]
        )
    assert len(arns) == 2
    fleet.api.delete_auto_scaling_group(AutoScalingGroupName=other)
    [left] = fleet.api.describe_policies(AutoScalingGroupName=fleet.name)["ScalingPolicies"]
    assert left["PolicyARN"] in arns


@pytest.mark.parametrize(("latency_s", "instances"), [(2.5, 3), (9.0, 4)])
def test_a_step_policy_adds_what_its_step_says(fleet: Fleet, latency_s: float, instances: int) -> None:
    fleet.api.put_scaling_policy(
        AutoScalingGroupName=fleet.name,
        PolicyName="latency",
        PolicyType="StepScaling",
        AdjustmentType="ChangeInCapacity",
        StepAdjustments=[
            {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 2, "ScalingAdjustment": 1},
            {"MetricIntervalLowerBound": 2, "ScalingAdjustment": 2},
        ],
    )
    fleet.api.execute_policy(
        AutoScalingGroupName=fleet.name, PolicyName="latency", MetricValue=latency_s, BreachThreshold=2
    )
    assert len(fleet.group["Instances"]) == instances


def test_a_deleted_group_leaves_nothing(emulator: Emulator, fleet: Fleet) -> None:
    fleet.api.update_auto_scaling_group(AutoScalingGroupName=fleet.name, MinSize=0, DesiredCapacity=0)
    assert fleet.group["Instances"] == []
    reservations = emulator.client("ec2", REGION).describe_instances(
        Filters=[{"Name": "tag:aws:autoscaling:groupName", "Values": [fleet.name]}]
    )["Reservations"]
    assert {i["State"]["Name"] for r in reservations for i in r["Instances"]} == {"terminated"}
