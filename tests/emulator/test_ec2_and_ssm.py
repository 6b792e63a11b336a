"""Public images, launch templates, user data and security group rules."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.emulator.running import Emulator

REGION = "eu-central-1"
IMAGE_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"


def encoded(size: int) -> str:
    """User data of this many bytes."""
    return base64.b64encode(b"#" * size).decode()


def test_the_public_gpu_image_is_an_image_of_the_region(emulator: Emulator) -> None:
    ids = {}
    for region in (REGION, "us-east-1"):
        ids[region] = emulator.client("ssm", region).get_parameter(Name=IMAGE_PARAMETER)["Parameter"]["Value"]
        [image] = emulator.client("ec2", region).describe_images(ImageIds=[ids[region]])["Images"]
        assert (image["Architecture"], image["RootDeviceName"]) == ("x86_64", "/dev/xvda")
    assert len(set(ids.values())) == 2


@pytest.mark.parametrize(("size", "taken"), [(16384, True), (16385, False)])
def test_user_data_is_limited_as_in_ec2(emulator: Emulator, size: int, taken: bool) -> None:
    ec2 = emulator.client("ec2", REGION)
    arguments = {"LaunchTemplateName": f"t-{uuid4()}", "LaunchTemplateData": {"UserData": encoded(size)}}
    if taken:
        assert ec2.create_launch_template(**arguments)["LaunchTemplate"]["LatestVersionNumber"] == 1
    else:
        with pytest.raises(ClientError, match="limited to 16384 bytes"):
            ec2.create_launch_template(**arguments)


def test_a_version_inherits_from_its_source(emulator: Emulator) -> None:
    ec2, name = emulator.client("ec2", REGION), f"t-{uuid4()}"
    ec2.create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "g6.xlarge", "UserData": encoded(4)}
    )
    ec2.create_launch_template_version(
        LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData={"UserData": encoded(5)}
    )
    [second] = ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["2"])["LaunchTemplateVersions"]
    assert second["LaunchTemplateData"] == {"InstanceType": "g6.xlarge", "UserData": encoded(5)}


def test_a_rule_keeps_its_description_and_can_be_changed(emulator: Emulator) -> None:
    ec2 = emulator.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName=f"g-{uuid4()}", Description="x", VpcId=vpc)["GroupId"]
    permission = {
        "IpProtocol": "tcp",
        "FromPort": 80,
        "ToPort": 80,
        "IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "in"}],
    }
    [rule] = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])["SecurityGroupRules"]
    assert rule["Description"] == "in"

    changed = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "ReferencedGroupId": group, "Description": "own"}
    rule_id = rule["SecurityGroupRuleId"]
    ec2.modify_security_group_rules(
        GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": changed}]
    )
    [rule] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule_id])["SecurityGroupRules"]
    assert (rule["Description"], rule["ReferencedGroupInfo"]["GroupId"]) == ("own", group)
    assert "CidrIpv4" not in rule
