"""For each rule of the policy pack: resources that break it, what the rule says of them, and resources that keep it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws_rules import autoscaling, buckets, general, iam, load_balancing, networks, security_groups, telemetry
from aws_rules.launch_templates import TEMPLATE
from aws_rules.rule import Resource

STACK = "prod-eu-west-1"
Properties = dict[str, Any]


def resource(type_: str, name: str = "it", /, uses: Mapping[str, str] | None = None, **properties: Any) -> Resource:
    """A resource of the stack; `uses` are the names of those that a property was made from."""
    return Resource(
        type=type_,
        name=name,
        urn=urn(name),
        properties=properties,
        uses={key: (urn(used),) for key, used in (uses or {}).items()},
    )


def urn(name: str) -> str:
    return f"urn:pulumi:{STACK}::fleet::aws:x/y:Z::{name}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two resources named `it` that differ in what a rule is about; and what stands beside each of them."""

    type: str
    breaks: Properties
    says: str | Sequence[str]
    keeps: Properties
    broken_beside: Sequence[Resource] = ()
    kept_beside: Sequence[Resource] = ()
    uses: Mapping[str, str] = field(default_factory=dict)
    config: Properties = field(default_factory=dict)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def policy(*statements: Properties) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **s} for s in statements]})


def trust(**statement: Any) -> Properties:
    return {"assumeRolePolicy": policy({"Action": "sts:AssumeRole", **statement})}


def spot(**distribution: Any) -> Properties:
    return {"instancesDistribution": {"onDemandPercentageAboveBaseCapacity": 50.0, **distribution}}


def overrides(*types: str) -> Properties:
    return {"launchTemplate": {"overrides": [{"instanceType": type_} for type_ in types]}}


SPECIFICATION = "mixedInstancesPolicy.launchTemplate.launchTemplateSpecification"


def versioned(version: str) -> Properties:
    return {"mixedInstancesPolicy": {"launchTemplate": {"launchTemplateSpecification": {"version": version}}}}


def listener(uses: str = "it", **properties: Any) -> Resource:
    return resource(load_balancing.LISTENER, "listener", {"loadBalancerArn": uses}, **properties)


PUBLIC = resource(load_balancing.BALANCER, "balancer", internal=False)
TLS_ONLY = json.dumps(
    {
        "Statement": [
            {
                "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]
    }
)  # fmt: skip
EVERYBODY = policy({"Principal": "*", "Action": "s3:GetObject", "Resource": "*"})
OWN_ACCOUNT = policy(
    {
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
    }
)
GITHUB = {"Federated": "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"}
SSH = {"ipProtocol": "tcp", "fromPort": 22.0, "toPort": 22.0, "cidrIpv4": "0.0.0.0/0"}
HTTPS = {**SSH, "fromPort": 443.0, "toPort": 443.0}
ALL = {"ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"}
BUCKET = buckets.BUCKETS[0]


def beside(type_: str, name: str = "beside", key: str = "bucket", **properties: Any) -> Resource:
    """Something that is about `it`."""
    return resource(type_, name, {key: "it"}, **properties)


def subject(name: str) -> Properties:
    return {"StringLike": {"token.actions.githubusercontent.com:sub": name}}


CASES: dict[str, Case] = {
    "launch-template-imdsv2": Case(
        type=TEMPLATE,
        breaks={"metadataOptions": {"httpTokens": "optional"}},
        says='metadataOptions.httpTokens is "optional", must be "required"',
        keeps={"metadataOptions": {"httpTokens": "required"}},
    ),
    "launch-template-metadata-hop-limit": Case(
        type=TEMPLATE,
        breaks={"metadataOptions": {"httpPutResponseHopLimit": 2.0}},
        says="metadataOptions.httpPutResponseHopLimit is 2, must be at most 1",
        keeps={"metadataOptions": {"httpPutResponseHopLimit": 1.0}},
    ),
    "launch-template-no-public-address": Case(
        type=TEMPLATE,
        breaks={"networkInterfaces": [{"associatePublicIpAddress": "true"}]},
        says="networkInterfaces[0].associatePublicIpAddress is true, must be false",
        keeps={"networkInterfaces": [{"associatePublicIpAddress": "false"}]},
    ),
    "launch-template-encrypted-volumes": Case(
        type=TEMPLATE,
        breaks={"blockDeviceMappings": [{"ebs": {"encrypted": "true"}}, {"ebs": {"encrypted": "false"}}]},
        says="blockDeviceMappings[1].ebs.encrypted is false, must be true",
        keeps={"blockDeviceMappings": [{"ebs": {"encrypted": "true"}}]},
    ),
    "launch-template-volume-key": Case(
        type=TEMPLATE,
        breaks={"blockDeviceMappings": [{"ebs": {"encrypted": "true"}}]},
        says="blockDeviceMappings[0].ebs.kmsKeyId is not set",
        keeps={"blockDeviceMappings": [{"ebs": {"kmsKeyId": "arn:aws:kms:eu-west-1:111122223333:key/a"}}]},
    ),
    "launch-template-no-secrets": Case(
        type=TEMPLATE,
        breaks={"userData": encoded("#!/bin/bash\nexport HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyzABCDEFGH\n")},
        says="line 2 of userData holds a Hugging Face token",
        keeps={"userData": encoded("#!/bin/bash\nexport HF_TOKEN=$(aws ssm get-parameter --name hf)\n")},
    ),
    "launch-template-detailed-monitoring": Case(
        type=TEMPLATE,
        breaks={"monitoring": {"enabled": False}},
        says="monitoring.enabled is false, must be true",
        keeps={"monitoring": {"enabled": True}},
    ),
    "launch-template-ebs-optimized": Case(
        type=TEMPLATE,
        breaks={},
        says="ebsOptimized is not set, must be true",
        keeps={"ebsOptimized": "true"},
    ),
    "launch-template-image": Case(
        type=TEMPLATE,
        breaks={"imageId": "newest"},
        says='imageId is "newest", must be an AMI id or resolve:ssm: and a parameter',
        keeps={"imageId": "resolve:ssm:/aws/service/ami"},
    ),
    "launch-template-one-interface": Case(
        type=TEMPLATE,
        breaks={"networkInterfaces": [{}, {}]},
        says="networkInterfaces has 2 that are no EFA interfaces, at most 1 may be",
        keeps={"networkInterfaces": [{}, {"interfaceType": "efa-only"}]},
    ),
    "launch-template-no-key-pair": Case(
        type=TEMPLATE, breaks={"keyName": "laptop"}, says='keyName is "laptop", must not be set', keeps={}
    ),
    "launch-template-role": Case(
        type=TEMPLATE,
        breaks={},
        says="iamInstanceProfile is not set, so instances have no role",
        keeps={"iamInstanceProfile": {"name": "fleet"}},
    ),
    "launch-template-volumes-go-with-instance": Case(
        type=TEMPLATE,
        breaks={"blockDeviceMappings": [{"ebs": {"deleteOnTermination": "false"}}]},
        says="blockDeviceMappings[0].ebs.deleteOnTermination is false, must be true",
        keeps={"blockDeviceMappings": [{"ebs": {"deleteOnTermination": "true"}}]},
    ),
    "group-elb-health-check": Case(
        type=autoscaling.GROUP,
        breaks={"targetGroupArns": ["arn"], "healthCheckType": "EC2"},
        says='healthCheckType is "EC2", must be "ELB"',
        keeps={"targetGroupArns": ["arn"], "healthCheckType": "ELB"},
    ),
    "group-several-zones": Case(
        type=autoscaling.GROUP,
        breaks={"vpcZoneIdentifiers": ["subnet-a"]},
        says="it has 1 subnets, must have at least 2, each in another zone",
        keeps={"vpcZoneIdentifiers": ["subnet-a", "subnet-b"]},
    ),
    "group-several-types": Case(
        type=autoscaling.GROUP,
        breaks={"mixedInstancesPolicy": overrides("g6.xlarge")},
        says="it may launch 1 types by name, must have at least 2",
        keeps={"mixedInstancesPolicy": overrides("g6.xlarge", "g5.xlarge")},
    ),
    "group-launch-template": Case(
        type=autoscaling.GROUP,
        breaks={"launchConfiguration": "old"},
        says="it starts instances from a launch configuration",
        keeps={"launchTemplate": {"id": "lt-1", "version": "3"}},
    ),
    "group-numbered-template-version": Case(
        type=autoscaling.GROUP,
        breaks=versioned("$Latest"),
        says=f'{SPECIFICATION}.version is "$Latest", must be a number',
        keeps=versioned("3"),
    ),
    "group-tags-instances": Case(
        type=autoscaling.GROUP,
        breaks={"tags": [{"key": "team", "value": "ml", "propagateAtLaunch": False}]},
        says="tags[0].propagateAtLaunch is false, must be true",
        keeps={"tags": [{"key": "team", "value": "ml", "propagateAtLaunch": True}]},
    ),
    "group-capacity-rebalance": Case(
        type=autoscaling.GROUP,
        breaks={"mixedInstancesPolicy": spot(), "capacityRebalance": False},
        says="capacityRebalance is false, must be true",
        keeps={"mixedInstancesPolicy": spot(), "capacityRebalance": True},
    ),
    "group-on-demand-base": Case(
        type=autoscaling.GROUP,
        breaks={"mixedInstancesPolicy": spot(onDemandBaseCapacity=0.0)},
        says="it takes Spot instances and its On-Demand base is 0, must be at least 1",
        keeps={"mixedInstancesPolicy": spot(onDemandBaseCapacity=1.0)},
    ),
    "group-instance-warmup": Case(
        type=autoscaling.GROUP,
        breaks={},
        says="defaultInstanceWarmup is not set",
        keeps={"defaultInstanceWarmup": 300.0},
    ),
    "group-instance-refresh": Case(
        type=autoscaling.GROUP,
        breaks={},
        says="instanceRefresh is not set",
        keeps={"instanceRefresh": {"strategy": "Rolling"}},
    ),
    "group-size-left-to-scaling": Case(
        type=autoscaling.GROUP,
        breaks={"minSize": 1.0, "maxSize": 3.0, "desiredCapacity": 2.0},
        says="desiredCapacity is 2 and every update sets it again",
        keeps={"minSize": 2.0, "maxSize": 2.0, "desiredCapacity": 2.0},
    ),
    "group-notifications": Case(
        type=autoscaling.GROUP,
        breaks={},
        says="nobody is told when an instance fails to start or to stop",
        keeps={},
        kept_beside=[beside(autoscaling.NOTIFICATION, key="groupNames")],
    ),
    "scaling-policy-not-by-latency": Case(
        type=autoscaling.POLICY,
        breaks={"targetTrackingConfiguration": {"customizedMetricSpecification": {"metricName": "TargetResponseTime"}}},
        says="it tracks TargetResponseTime, which does not change in proportion to capacity",
        keeps={"targetTrackingConfiguration": {"customizedMetricSpecification": {"metricName": "gpu_utilization"}}},
    ),
    "scaling-policy-kind": Case(
        type=autoscaling.POLICY,
        breaks={"policyType": "SimpleScaling"},
        says='policyType is "SimpleScaling", must be "TargetTrackingScaling", "StepScaling" or "PredictiveScaling"',
        keeps={"policyType": "StepScaling"},
    ),
    "lifecycle-hook-abandons": Case(
        type=autoscaling.HOOK,
        breaks={"lifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING", "defaultResult": "CONTINUE"},
        says='defaultResult is "CONTINUE", must be "ABANDON"',
        keeps={"lifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "defaultResult": "CONTINUE"},
    ),
    "schedule-in-order": Case(
        type=autoscaling.SCHEDULE,
        breaks={"minSize": 4.0, "desiredCapacity": -1.0, "maxSize": 2.0},
        says="minSize is 4 and maxSize is 2",
        keeps={"minSize": 1.0, "desiredCapacity": -1.0, "maxSize": 2.0},
    ),
    "schedule-time-zone": Case(
        type=autoscaling.SCHEDULE,
        breaks={"recurrence": "0 8 * * 1-5"},
        says="timeZone is not set",
        keeps={"recurrence": "0 8 * * 1-5", "timeZone": "Europe/Berlin"},
    ),
    "notification-of-errors": Case(
        type=autoscaling.NOTIFICATION,
        breaks={"notifications": ["autoscaling:EC2_INSTANCE_LAUNCH_ERROR"]},
        says="notifications lacks autoscaling:EC2_INSTANCE_TERMINATE_ERROR",
        keeps={"notifications": list(autoscaling.ERRORS)},
    ),
    "launch-configuration-none": Case(
        type="aws:ec2/launchConfiguration:LaunchConfiguration",
        breaks={"imageId": "ami-1"},
        says='imageId is "ami-1", must not be set',
        keeps={},
    ),
    "load-balancer-drops-invalid-headers": Case(
        type=load_balancing.BALANCER,
        breaks={"dropInvalidHeaderFields": False},
        says="dropInvalidHeaderFields is false, must be true",
        keeps={"dropInvalidHeaderFields": True},
    ),
    "load-balancer-desync": Case(
        type=load_balancing.BALANCER,
        breaks={"desyncMitigationMode": "monitor"},
        says='desyncMitigationMode is "monitor", must be "defensive" or "strictest"',
        keeps={"desyncMitigationMode": "strictest"},
    ),
    "load-balancer-access-logs": Case(
        type=load_balancing.BALANCER,
        breaks={"accessLogs": {"enabled": False, "bucket": "logs"}},
        says="accessLogs.enabled is false, must be true",
        keeps={"accessLogs": {"enabled": True, "bucket": "logs"}},
    ),
    "load-balancer-protected": Case(
        type=load_balancing.BALANCER,
        breaks={"enableDeletionProtection": False},
        says="nothing keeps stack prod-eu-west-1 from deleting it",
        keeps={"enableDeletionProtection": True},
    ),
    "load-balancer-several-zones": Case(
        type=load_balancing.BALANCER,
        breaks={"subnets": ["subnet-a"]},
        says="it has 1 subnets, must have at least 2, each in another zone",
        keeps={"subnets": ["subnet-a", "subnet-b"]},
    ),
    "load-balancer-internal-or-encrypted": Case(
        type=load_balancing.BALANCER,
        breaks={"internal": False},
        says="it faces the internet and has no HTTPS listener",
        broken_beside=[listener(protocol="HTTP")],
        keeps={"internal": False},
        kept_beside=[listener(protocol="HTTPS")],
    ),
    "load-balancer-web-acl": Case(
        type=load_balancing.BALANCER,
        breaks={"internal": False},
        says="it faces the internet and has no web ACL",
        keeps={"internal": False},
        kept_beside=[beside(load_balancing.WEB_ACL, key="resourceArn")],
    ),
    "listener-encrypted": Case(
        type=load_balancing.LISTENER,
        uses={"loadBalancerArn": "balancer"},
        breaks={"protocol": "HTTP", "defaultActions": [{"type": "forward"}]},
        says='protocol is HTTP and defaultActions[0] is "forward", must be a redirect to HTTPS',
        broken_beside=[PUBLIC],
        keeps={"protocol": "HTTP", "defaultActions": [{"type": "redirect", "redirect": {"protocol": "HTTPS"}}]},
        kept_beside=[PUBLIC],
    ),
    "listener-tls-policy": Case(
        type=load_balancing.LISTENER,
        breaks={"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-2016-08"},
        says='sslPolicy is "ELBSecurityPolicy-2016-08", must be "ELBSecurityPolicy-TLS13-1-3-2021-06"',
        keeps={"protocol": "HTTPS", "sslPolicy": "ELBSecurityPolicy-TLS13-1-3-2021-06"},
        config={"policies": ["ELBSecurityPolicy-TLS13-1-3-2021-06"]},
    ),
    "listener-certificate": Case(
        type=load_balancing.LISTENER,
        breaks={"protocol": "HTTPS"},
        says="certificateArn is not set",
        keeps={"protocol": "HTTPS", "certificateArn": "arn:aws:acm:eu-west-1:111122223333:certificate/a"},
    ),
    "target-group-health-check": Case(
        type=load_balancing.TARGETS,
        breaks={"protocol": "HTTP", "healthCheck": {"enabled": False}},
        says=("healthCheck.path is not set", "healthCheck.enabled is false, must not be false"),
        keeps={"protocol": "HTTP", "healthCheck": {"path": "/health"}},
    ),
    "target-group-encrypted": Case(
        type=load_balancing.TARGETS,
        breaks={"protocol": "HTTP", "healthCheck": {"protocol": "HTTPS"}},
        says='protocol is "HTTP", must be "HTTPS" or "TLS"',
        keeps={"protocol": "HTTPS", "healthCheck": {"protocol": "HTTPS"}},
    ),
    "target-group-unnamed": Case(
        type=load_balancing.TARGETS,
        breaks={"name": "it"},
        says='name is "it", so its replacement cannot be made beside it',
        keeps={"name": "it-0a1b2c3"},
    ),
    "security-group-no-open-ports": Case(
        type=security_groups.INGRESS,
        breaks=SSH,
        says="it lets in 0.0.0.0/0 on port 22",
        keeps=HTTPS,
    ),
    "security-group-no-open-egress": Case(
        type=security_groups.EGRESS,
        breaks=ALL,
        says="it lets out to 0.0.0.0/0 on every port",
        keeps=HTTPS,
    ),
    "security-group-described": Case(
        type=security_groups.GROUP,
        breaks={"description": "Managed by Pulumi", "ingress": [{"protocol": "tcp"}]},
        says=('description is "Managed by Pulumi"', "ingress[0].description is not set"),
        keeps={"description": "Instances", "ingress": [{"protocol": "tcp", "description": "Requests"}]},
    ),
    "default-security-group-closed": Case(
        type=security_groups.DEFAULT_GROUP,
        breaks={"ingress": [{"protocol": "-1"}], "egress": []},
        says='ingress is [{"protocol": "-1"}], must not be set',
        keeps={"ingress": [], "egress": []},
    ),
    "vpc-default-security-group-closed": Case(
        type=security_groups.VPC,
        breaks={},
        says="its default security group keeps AWS's rules, which let its members talk to each other and everybody",
        keeps={},
        kept_beside=[beside(security_groups.DEFAULT_GROUP, key="vpcId")],
    ),
    "vpc-flow-logs": Case(
        type=security_groups.VPC,
        breaks={},
        says="nothing records who talks to whom in it",
        keeps={},
        kept_beside=[beside(networks.FLOW_LOG, key="vpcId")],
    ),
    "vpc-endpoints": Case(
        type=security_groups.VPC,
        breaks={},
        says="it has no endpoint for ecr.api",
        broken_beside=[beside(networks.ENDPOINT, key="vpcId", serviceName="com.amazonaws.eu-west-1.s3")],
        keeps={},
        kept_beside=[
            beside(networks.ENDPOINT, name, "vpcId", serviceName=f"com.amazonaws.eu-west-1.{name}")
            for name in ("s3", "ecr.api")
        ],
        config={"services": ["s3", "ecr.api"]},
    ),
    "vpc-dns": Case(
        type=security_groups.VPC,
        breaks={"enableDnsSupport": True},
        says="enableDnsHostnames is not set, must be true",
        keeps={"enableDnsSupport": True, "enableDnsHostnames": True},
    ),
    "subnet-no-public-addresses": Case(
        type=networks.SUBNET,
        breaks={"mapPublicIpOnLaunch": True},
        says="mapPublicIpOnLaunch is true, must be false",
        keeps={"mapPublicIpOnLaunch": False},
    ),
    "vpc-endpoint-guarded": Case(
        type=networks.ENDPOINT,
        breaks={"vpcEndpointType": "Interface", "privateDnsEnabled": True},
        says="securityGroupIds is not set",
        keeps={"vpcEndpointType": "Interface", "privateDnsEnabled": True, "securityGroupIds": ["sg-1"]},
    ),
    "flow-log-of-rejected": Case(
        type=networks.FLOW_LOG,
        breaks={"trafficType": "ACCEPT"},
        says='trafficType is "ACCEPT", must be "REJECT" or "ALL"',
        keeps={"trafficType": "ALL"},
    ),
    "address-used": Case(
        type=networks.ADDRESS,
        breaks={"domain": "vpc"},
        says="nothing uses it, and it is paid for",
        keeps={"domain": "vpc"},
        kept_beside=[beside("aws:ec2/natGateway:NatGateway", key="allocationId")],
    ),
    "iam-no-whole-services": Case(
        type=iam.ROLE_POLICY,
        breaks={"policy": policy({"Action": ["s3:*", "ec2:RunInstances"], "Resource": "arn:aws:s3:::b"})},
        says="it allows every action of s3",
        keeps={"policy": policy({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"})},
    ),
    "iam-no-wildcard-actions": Case(
        type=iam.POLICY,
        breaks={"policy": policy({"Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"})},
        says="it allows s3:Get*, which grows with each action that AWS adds",
        keeps={"policy": policy({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"})},
    ),
    "iam-resources-named": Case(
        type=iam.ROLE_POLICY,
        breaks={"policy": policy({"Action": ["s3:GetObject", "ec2:DescribeTags"], "Resource": "*"})},
        says="it allows s3:GetObject on every resource",
        keeps={"policy": policy({"Action": "ec2:DescribeTags", "Resource": "*"})},
    ),
    "iam-no-privilege-escalation": Case(
        type=iam.ROLE_POLICY,
        breaks={"policy": policy({"Action": "iam:Pass*", "Resource": "*"})},
        says="with iam:PassRole on every resource a role can give itself any right",
        keeps={"policy": policy({"Action": "iam:PassRole", "Resource": "arn:aws:iam::111122223333:role/instance"})},
    ),
    "iam-keys-named": Case(
        type=iam.ROLE_POLICY,
        breaks={"policy": policy({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:111122223333:key/*"})},
        says="it allows kms:Decrypt with every key",
        keeps={"policy": policy({"Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:111122223333:key/a"})},
    ),
    "iam-metrics-of-one-namespace": Case(
        type=iam.ROLE_POLICY,
        breaks={"policy": policy({"Action": "cloudwatch:PutMetricData", "Resource": "*"})},
        says="it allows cloudwatch:PutMetricData in every namespace",
        keeps={
            "policy": policy(
                {
                    "Action": "cloudwatch:PutMetricData",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"cloudwatch:namespace": "fleet"}},
                }
            )
        },
    ),
    "iam-trust-named": Case(
        type=iam.ROLE,
        breaks=trust(Principal={"AWS": ["*", "arn:aws:iam::111122223333:root"]}),
        says=(
            "assumeRolePolicy lets everybody take the role",
            "assumeRolePolicy lets everything in account arn:aws:iam::111122223333:root take the role, on no condition",
        ),
        keeps=trust(Principal={"Service": "ec2.amazonaws.com"}),
    ),
    "iam-github-trust-named": Case(
        type=iam.ROLE,
        breaks=trust(Principal=GITHUB, Condition=subject("repo:acme/*")),
        says="assumeRolePolicy admits repo:acme/*, which does not name one repository",
        keeps=trust(Principal=GITHUB, Condition=subject("repo:acme/fleet:environment:prod")),
    ),
    "iam-no-administrators": Case(
        type=iam.ATTACHMENT,
        breaks={"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
        says="it attaches arn:aws:iam::aws:policy/AdministratorAccess",
        keeps={"policyArn": "arn:aws:iam::111122223333:policy/fleet"},
    ),
    "iam-no-managed-policies-of-aws": Case(
        type=iam.ROLE,
        breaks={"managedPolicyArns": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]},
        says="it attaches arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore, to which AWS may add rights",
        keeps={"managedPolicyArns": ["arn:aws:iam::111122223333:policy/fleet"]},
    ),
    "bucket-public-access-blocked": Case(
        type=BUCKET,
        breaks={},
        says="it has no public access block",
        keeps={},
        kept_beside=[beside(buckets.ACCESS_BLOCK)],
    ),
    "bucket-public-access-block-complete": Case(
        type=buckets.ACCESS_BLOCK,
        breaks={name: name != "blockPublicPolicy" for name in buckets.BLOCKS},
        says="blockPublicPolicy is false, must be true",
        keeps={name: True for name in buckets.BLOCKS},
    ),
    "bucket-tls-only": Case(
        type=BUCKET,
        breaks={},
        says="its policy does not refuse requests without TLS",
        broken_beside=[beside(buckets.BUCKET_POLICY, policy=OWN_ACCOUNT)],
        keeps={},
        kept_beside=[beside(buckets.BUCKET_POLICY, policy=TLS_ONLY)],
    ),
    "bucket-policy-not-public": Case(
        type=buckets.BUCKET_POLICY,
        breaks={"policy": EVERYBODY},
        says="it allows s3:GetObject to everybody",
        keeps={"policy": OWN_ACCOUNT},
    ),
    "bucket-lifecycle": Case(
        type=BUCKET,
        breaks={},
        says="it has no lifecycle configuration",
        keeps={},
        kept_beside=[beside(buckets.LIFECYCLE[0])],
    ),
    "bucket-lifecycle-ends": Case(
        type=buckets.LIFECYCLE[0],
        breaks={"rules": [{"status": "Enabled", "expiration": {"days": 90.0}}]},
        says="no rule that is enabled ends uploads that were never completed",
        keeps={
            "rules": [
                {
                    "status": "Enabled",
                    "expiration": {"days": 90.0},
                    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7.0},
                }
            ]
        },
    ),
    "bucket-acls-disabled": Case(
        type=buckets.OWNERSHIP,
        breaks={"rule": {"objectOwnership": "ObjectWriter"}},
        says='rule.objectOwnership is "ObjectWriter", must be "BucketOwnerEnforced"',
        keeps={"rule": {"objectOwnership": "BucketOwnerEnforced"}},
    ),
    "bucket-no-acl": Case(
        type=BUCKET, breaks={"acl": "public-read"}, says='acl is "public-read"', keeps={"acl": "private"}
    ),
    "bucket-versioned": Case(
        type=BUCKET,
        breaks={},
        says="it has no versioning",
        keeps={},
        kept_beside=[beside(buckets.VERSIONING[0])],
    ),
    "bucket-encryption-configured": Case(
        type=BUCKET,
        breaks={},
        says="it has no encryption configuration",
        keeps={},
        kept_beside=[beside(buckets.ENCRYPTION[0])],
    ),
    "bucket-versioning-enabled": Case(
        type=buckets.VERSIONING[0],
        breaks={"versioningConfiguration": {"status": "Suspended"}},
        says='versioningConfiguration.status is "Suspended", must be "Enabled"',
        keeps={"versioningConfiguration": {"status": "Enabled"}},
    ),
    "bucket-encryption-known": Case(
        type=buckets.ENCRYPTION[0],
        breaks={"rules": [{"bucketKeyEnabled": True}]},
        says="rules[0].applyServerSideEncryptionByDefault.sseAlgorithm is not set,"
        ' must be "AES256", "aws:kms" or "aws:kms:dsse"',
        keeps={"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
    ),
    "bucket-access-logged": Case(
        type=BUCKET,
        breaks={},
        says="it has no access log",
        keeps={},
        kept_beside=[beside(buckets.LOGGING[0])],
    ),
    "key-rotates": Case(
        type=buckets.KEY,
        breaks={"enableKeyRotation": False},
        says="enableKeyRotation is false, must be true",
        keeps={"enableKeyRotation": True},
    ),
    "key-policy-not-public": Case(
        type=buckets.KEY,
        breaks={"policy": policy({"Principal": {"AWS": "*"}, "Action": "kms:*", "Resource": "*"})},
        says="it allows kms:* to everybody",
        keeps={"policy": policy({"Principal": {"AWS": "111122223333"}, "Action": "kms:*", "Resource": "*"})},
    ),
    "log-group-retention": Case(
        type=telemetry.LOG_GROUP,
        breaks={"retentionInDays": 30.0},
        says="retentionInDays is 30, must be at least 365",
        keeps={"retentionInDays": 365.0},
    ),
    "log-group-key": Case(
        type=telemetry.LOG_GROUP,
        breaks={},
        says="kmsKeyId is not set",
        keeps={"kmsKeyId": "arn:aws:kms:eu-west-1:111122223333:key/a"},
    ),
    "alarm-acts": Case(
        type=telemetry.ALARM,
        breaks={"alarmActions": []},
        says="alarmActions is []",
        keeps={"alarmActions": ["arn:aws:sns:eu-west-1:111122223333:alarms"]},
    ),
    "alarm-actions-enabled": Case(
        type=telemetry.ALARM,
        breaks={"actionsEnabled": False},
        says="actionsEnabled is false, must be true",
        keeps={"actionsEnabled": True},
    ),
    "alarm-missing-data": Case(
        type=telemetry.ALARM,
        breaks={"treatMissingData": "missing"},
        says='treatMissingData is "missing", must be "breaching", "notBreaching" or "ignore"',
        keeps={"treatMissingData": "breaching"},
    ),
    "alarm-described": Case(
        type=telemetry.COMPOSITE,
        breaks={"alarmDescription": ""},
        says='alarmDescription is ""',
        keeps={"alarmDescription": "No instance answers"},
    ),
    "dashboard-readable": Case(
        type=telemetry.DASHBOARD,
        breaks={"dashboardBody": "{"},
        says="dashboardBody is no JSON with widgets",
        keeps={"dashboardBody": '{"widgets": [{"type": "text"}]}'},
    ),
    "topic-encrypted": Case(
        type=telemetry.TOPIC,
        breaks={},
        says="kmsMasterKeyId is not set",
        keeps={"kmsMasterKeyId": "arn:aws:kms:eu-west-1:111122223333:key/a"},
    ),
    "topic-key-for-alarms": Case(
        type=telemetry.TOPIC,
        breaks={"kmsMasterKeyId": "alias/aws/sns"},
        says='kmsMasterKeyId is "alias/aws/sns", with which CloudWatch cannot publish',
        keeps={"kmsMasterKeyId": "arn:aws:kms:eu-west-1:111122223333:key/a"},
    ),
    "topic-tls-only": Case(
        type=telemetry.TOPIC,
        breaks={},
        says="its policy does not refuse messages without TLS",
        keeps={},
        kept_beside=[beside(telemetry.TOPIC_POLICY, key="arn", policy=TLS_ONLY)],
    ),
    "topic-policy-not-public": Case(
        type=telemetry.TOPIC_POLICY,
        breaks={"policy": policy({"Principal": {"AWS": "*"}, "Action": "sns:Publish", "Resource": "*"})},
        says="it allows sns:Publish to everybody",
        keeps={"policy": OWN_ACCOUNT},
    ),
    "subscription-encrypted": Case(
        type=telemetry.SUBSCRIPTION,
        breaks={"protocol": "http"},
        says='protocol is "http", must not be "http"',
        keeps={"protocol": "email"},
    ),
    "event-rule-enabled": Case(
        type=telemetry.EVENT_RULE,
        breaks={"state": "DISABLED"},
        says='state is "DISABLED", must not be "DISABLED"',
        keeps={"state": "ENABLED"},
    ),
    "required-tags": Case(
        type=BUCKET,
        breaks={"tagsAll": {"team": "ml"}},
        says="it lacks the tags owner",
        keeps={"tagsAll": {"team": "ml", "owner": "search"}},
        config={"tags": ["team", "owner"]},
    ),
    "replaced-before-deleted": Case(
        type=general.KEEP_SERVING[0],
        breaks={},
        says="it is deleted before its replacement exists",
        keeps={},
    ),
}  # fmt: skip
