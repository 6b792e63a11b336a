"""The private paths: health, the inventory and faults."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.emulator.running import Emulator, running_emulator

REGION = "eu-central-1"


def test_each_start_has_a_boot_id_of_its_own(emulator: Emulator, tmp_path: Path) -> None:
    first = emulator.control("GET", "health")
    assert first == emulator.control("GET", "health")
    with running_emulator(tmp_path / "log") as other:
        second = other.control("GET", "health")
    assert first["emulator"] == second["emulator"] == "gpufleet"
    assert first["bootId"] != second["bootId"]


def test_inventory_shows_what_was_made_until_it_is_gone(emulator: Emulator) -> None:
    ec2 = emulator.client("ec2", "eu-west-3")
    ec2.describe_vpcs()  # a region has its default network from the first call on
    before = emulator.resources("eu-west-3")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    found = emulator.resources("eu-west-3")
    assert (found["ec2:vpc"], found["ec2:subnet"], found["ec2:nat-gateway"]) == ([vpc], [subnet], [gateway])

    ec2.delete_nat_gateway(NatGatewayId=gateway)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)
    assert emulator.resources("eu-west-3") == before


def test_inventory_counts_own_keys_and_not_those_of_aws(emulator: Emulator) -> None:
    region = "eu-west-2"
    ec2, kms = emulator.client("ec2", region), emulator.client("kms", region)
    # EC2 makes the key alias/aws/ebs when a volume is first encrypted.
    ec2.create_volume(AvailabilityZone=f"{region}a", Size=1, Encrypted=True)
    assert kms.list_keys()["Keys"]
    assert "kms:key" not in emulator.resources(region)
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert emulator.resources(region)["kms:key"] == [key]
    kms.schedule_key_deletion(KeyId=key)
    assert "kms:key" not in emulator.resources(region)


def test_inventory_shows_no_interface_of_a_terminated_instance(emulator: Emulator) -> None:
    region = "eu-west-2"
    ec2 = emulator.client("ec2", region)
    image = ec2.describe_images(Owners=["898082745236"])["Images"][0]["ImageId"]
    [instance] = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    assert emulator.resources(region)["ec2:network-interface"]
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    assert "ec2:network-interface" not in emulator.resources(region)


def test_a_fault_strikes_as_often_as_asked_and_then_no_more(emulator: Emulator) -> None:
    emulator.control("POST", "faults", {"service": "sns", "action": "CreateTopic", "code": "Throttled", "times": 2})
    sns = emulator.client("sns", REGION)
    for _ in range(2):
        with pytest.raises(ClientError, match="Throttled"):
            sns.create_topic(Name="fault-topic")
    arn = sns.create_topic(Name="fault-topic")["TopicArn"]
    assert arn in emulator.resources(REGION)["sns:topic"]


def test_a_fault_after_the_call_leaves_its_work_done(emulator: Emulator) -> None:
    fault = {
        "service": "sns",
        "action": "CreateTopic",
        "code": "InternalError",
        "after": True,
        "contains": "late-topic",
    }
    emulator.control("POST", "faults", fault)
    sns = emulator.client("sns", REGION)
    sns.create_topic(Name="another-topic")
    with pytest.raises(ClientError, match="InternalError"):
        sns.create_topic(Name="late-topic")
    assert any(arn.endswith(":late-topic") for arn in emulator.resources(REGION)["sns:topic"])


def test_a_dropped_connection_has_no_answer_and_its_work_is_done_or_not_as_asked(emulator: Emulator) -> None:
    sns = emulator.client("sns", REGION)
    for after, name in ((False, "never-made"), (True, "made-unheard")):
        emulator.control("POST", "faults", {"service": "sns", "action": "CreateTopic", "drop": True, "after": after})
        with pytest.raises(ConnectionClosedError):
            sns.create_topic(Name=name)
    topics = [arn.rpartition(":")[2] for arn in emulator.resources(REGION)["sns:topic"]]
    assert "made-unheard" in topics
    assert "never-made" not in topics


def test_a_creation_that_is_repeated_with_its_token_or_its_settings_is_made_once(emulator: Emulator) -> None:
    region = "eu-north-1"
    ec2, elbv2 = emulator.client("ec2", region), emulator.client("elbv2", region)
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.8.{i}.0/24", AvailabilityZone=f"{region}{zone}")["Subnet"][
            "SubnetId"
        ]
        for i, zone in enumerate("ab")
    ]

    def gateway(token: str) -> str:
        made = ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private", ClientToken=token)
        return str(made["NatGateway"]["NatGatewayId"])

    def balancer(name: str) -> str:
        return str(elbv2.create_load_balancer(Name=name, Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"])

    assert gateway("one") == gateway("one") != gateway("two")
    first = balancer("one")
    assert first == balancer("one") != balancer("two")
    elbv2.delete_load_balancer(LoadBalancerArn=first)
    assert balancer("one") != first


def test_faults_can_be_cleared(emulator: Emulator) -> None:
    emulator.control("POST", "faults", {"service": "sns", "action": "*", "code": "Throttled"})
    assert emulator.control("GET", "faults")["faults"]
    emulator.control("DELETE", "faults")
    assert emulator.control("GET", "faults") == {"faults": []}
    emulator.client("sns", REGION).list_topics()


def test_an_unknown_key_of_a_fault_is_refused(emulator: Emulator) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.control("POST", "faults", {"service": "sns", "action": "*", "codes": "Throttled"})


def test_calls_are_counted_under_their_services_and_can_be_forgotten(tmp_path: Path) -> None:
    with running_emulator(tmp_path / "log") as emulator:
        ec2, s3 = emulator.client("ec2", REGION), emulator.client("s3", REGION)
        for _ in range(2):
            ec2.describe_vpcs()
        with pytest.raises(ClientError):  # a call that fails was made all the same
            s3.head_object(Bucket="no-such-bucket", Key="key")
        ec2.describe_subnets()
        emulator.client("elbv2", REGION).describe_load_balancers()
        assert emulator.control("GET", "calls")["calls"] == [
            {"service": "ec2", "action": "DescribeSubnets", "times": 1},
            {"service": "ec2", "action": "DescribeVpcs", "times": 2},
            {"service": "elbv2", "action": "DescribeLoadBalancers", "times": 1},
            {"service": "s3", "action": "GetObject", "times": 1},
        ]
        emulator.control("DELETE", "calls")
        assert emulator.control("GET", "calls") == {"calls": []}


def test_every_ec2_quota_is_large_but_for_those_that_are_set(emulator: Emulator) -> None:
    client = emulator.client("service-quotas", REGION)

    def allowed(code: str) -> float:
        return float(client.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])

    assert allowed("L-DB2E81BA") == 10_000
    emulator.control("POST", "quotas", {"L-DB2E81BA": 8})
    assert (allowed("L-DB2E81BA"), allowed("L-417A185B")) == (8, 10_000)
    default = client.get_aws_default_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")["Quota"]["Value"]
    assert default == 10_000
    emulator.control("DELETE", "quotas")
    assert allowed("L-DB2E81BA") == 10_000
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.control("POST", "quotas", {"L-DB2E81BA": "many"})


def test_what_moto_lacks_fails_at_once(emulator: Emulator) -> None:
    with pytest.raises(ClientError, match="EmulatorGap") as error:
        emulator.client("autoscaling", REGION).describe_account_limits()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
