"""The program for what the shipped stacks do not ask for."""

from __future__ import annotations

import json

import pytest

VPC = "vpc-0123456789abcdef0"
PRIVATE = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
PUBLIC = ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"]
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"


def rules(program, kind):
    return {
        (
            r.inputs["securityGroupId"],
            r.inputs.get("cidrIpv4") or r.inputs["referencedSecurityGroupId"],
            r.inputs["fromPort"],
        )
        for r in program.of_type(kind)
    }


def resources_of(program, statements_with):
    return [s["Resource"] for s in program.statements() if statements_with in str(s["Action"])]


def test_given_network_is_used_and_not_touched(run):
    program = run(network={"vpcId": VPC, "subnetIds": PRIVATE})
    for kind in ("Vpc", "Subnet", "NatGateway", "InternetGateway", "RouteTable", "VpcEndpoint", "DefaultSecurityGroup"):
        assert not program.of_type(kind), kind
    assert program.one("Group")["vpcZoneIdentifiers"] == PRIVATE
    assert program.one("LoadBalancer")["subnets"] == PRIVATE
    assert program.one("TargetGroup")["vpcId"] == VPC
    assert {r.inputs["vpcId"] for r in program.of_type("SecurityGroup")} == {VPC}
    assert ("<gpufleet-lb.id>", "10.0.0.0/16", 80) in rules(program, "SecurityGroupIngressRule")


def test_internet_facing_speaks_https_to_those_who_were_named(run):
    program = run(
        network={
            "vpcId": VPC,
            "subnetIds": PRIVATE,
            "loadBalancerSubnetIds": PUBLIC,
            "internal": False,
            "certificateArn": CERTIFICATE,
            "allowedCidrs": ["203.0.113.0/24", "198.51.100.0/24"],
        }
    )
    balancer = program.one("LoadBalancer")
    assert balancer["internal"] is False
    assert balancer["subnets"] == PUBLIC
    https, http = program.one("Listener", "https"), program.one("Listener", "http")
    assert (https["port"], https["protocol"]) == (443, "HTTPS")
    assert https["certificateArn"] == CERTIFICATE
    assert https["sslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    assert https["defaultActions"] == [{"type": "forward", "targetGroupArn": "<gpufleet-targets.arn>"}]
    redirect = {"protocol": "HTTPS", "port": "443", "statusCode": "HTTP_301"}
    assert http["defaultActions"] == [{"type": "redirect", "redirect": redirect}]
    assert rules(program, "SecurityGroupIngressRule") == {
        ("<gpufleet-fleet.id>", "<gpufleet-lb.id>", 8000),
        *(("<gpufleet-lb.id>", c, port) for c in ("203.0.113.0/24", "198.51.100.0/24") for port in (80, 443)),
    }
    assert ("<gpufleet-fleet.id>", "<gpufleet-lb.id>", 443) not in rules(program, "SecurityGroupEgressRule")
    assert program.run.outputs["endpointUrl"] == "https://<gpufleet-lb.dnsName>"
    assert program.run.outputs["connectCommand"].startswith("curl https://<gpufleet-lb.dnsName>")


def test_internet_facing_in_a_vpc_of_its_own_lies_in_public_subnets(run):
    program = run(network={"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["0.0.0.0/0"]})
    zones = [s.zone_id for s in program.run.plan.network.subnets]
    assert program.one("LoadBalancer")["subnets"] == [f"<gpufleet-public-{zone}.id>" for zone in zones]
    public = next(r for r in program.of_type("Subnet") if "public" in r.name)
    assert any("gpufleet-internet" in urn for urn in public.dependencies)
    assert all("private" in subnet for subnet in program.one("Group")["vpcZoneIdentifiers"])


def test_internal_with_certificate_is_forwarded_to_its_own_port(run):
    program = run(network={"certificateArn": CERTIFICATE})
    assert ("<gpufleet-fleet.id>", "<gpufleet-lb.id>", 443) in rules(program, "SecurityGroupEgressRule")
    assert ("<gpufleet-lb.id>", "<gpufleet-fleet.id>", 443) in rules(program, "SecurityGroupIngressRule")
    assert "portNumber=443,localPortNumber=8443" in program.run.outputs["connectCommand"]


@pytest.mark.parametrize(("percentage", "on_demand", "rebalance"), [(0, 100, False), (75, 25, True)])
def test_spot_above_the_base(run, percentage, on_demand, rebalance):
    program = run(instance={"spotPercentage": percentage, "onDemandBase": 2}, scaling={"min": 2, "max": 6})
    group = program.one("Group")
    distribution = group["mixedInstancesPolicy"]["instancesDistribution"]
    assert distribution["onDemandBaseCapacity"] == 2
    assert distribution["onDemandPercentageAboveBaseCapacity"] == on_demand
    assert group["capacityRebalance"] is rebalance


def test_several_replicas_stand_behind_the_proxys_port(run):
    program = run(
        model={"id": "Qwen/Qwen3-8B", "parameters": "8.19B", "precision": "fp16", "tensorParallelism": 2},
        instance={"type": "g6.12xlarge"},
        serving={"port": 8080},
    )
    plan = program.run.plan
    assert plan.replicas_per_instance == 2
    assert program.one("TargetGroup")["port"] == plan.proxy.port == 8080
    assert ("<gpufleet-fleet.id>", "<gpufleet-lb.id>", 8080) in rules(program, "SecurityGroupIngressRule")
    script = program.scripts()
    assert "gpufleet-replica@0.service" in script
    assert "gpufleet-replica@1.service" in script
    assert plan.proxy.image in script


def test_stages_of_a_pipeline_take_gpus_of_their_own(run):
    program = run(
        model={"id": "Qwen/Qwen3-8B", "precision": "fp16", "pipelineParallelism": 2, "tensorParallelism": 1},
        instance={"type": "g6.12xlarge"},
        serving={"maxNumBatchedTokens": 4096},
    )
    plan = program.run.plan
    assert (plan.tensor_parallelism, plan.pipeline_parallelism, plan.replicas_per_instance) == (1, 2, 2)
    script = program.scripts()
    assert "0) gpus=0,1 " in script
    assert "1) gpus=2,3 " in script
    assert "--pipeline-parallel-size 2" in script
    assert "--max-num-batched-tokens 4096" in script
    assert plan.server.max_num_batched_tokens == 4096


def test_weights_in_s3_are_read_below_their_prefix_only(run):
    program = run(
        model={"id": "Qwen/Qwen3-8B", "parameters": "8.19B", "precision": "fp16", "source": "s3://weights/qwen3/8b/"}
    )
    assert resources_of(program, "s3:GetObject") == ["arn:aws:s3:::weights/qwen3/8b/*"]
    listing = next(s for s in program.statements() if s["Action"] == "s3:ListBucket")
    assert listing["Resource"] == "arn:aws:s3:::weights"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["qwen3/8b", "qwen3/8b/*"]}}


def test_secrets_of_both_kinds_are_read_by_their_arns(run):
    parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/serving/hf-token"
    secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:api-key-AbCdEf"
    program = run(serving={"secrets": {"HF_TOKEN": parameter, "API_KEY": secret}})
    assert resources_of(program, "ssm:GetParameter") == [[parameter]]
    assert resources_of(program, "secretsmanager:GetSecretValue") == [[secret]]
    assert parameter in program.scripts()


def test_image_in_ecr_may_be_pulled_and_no_other(run):
    image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/team/vllm:0.19.0"
    program = run(serving={"image": image, "engineVersion": "0.19.0"})
    assert resources_of(program, "ecr:BatchGetImage") == [["arn:aws:ecr:us-west-2:123456789012:repository/team/vllm"]]


def test_cpu_alone_moves_the_fleet(run):
    program = run(scaling={"min": 1, "max": 3, "gpuUtilization": "off", "cpuUtilization": "60%"})
    assert [r.name for r in program.of_type("Policy")] == ["gpufleet-cpu-utilization"]
    assert program.one("Policy")["targetTrackingConfiguration"] == {
        "targetValue": 60,
        "predefinedMetricSpecification": {"predefinedMetricType": "ASGAverageCPUUtilization"},
    }


def test_latency_only_adds_capacity(run):
    program = run(scaling={"min": 1, "max": 3, "latency": {"percentile": "p95", "target": "2s"}})
    policy, alarm = program.one("Policy", "latency"), program.one("MetricAlarm", "slow")
    assert policy["policyType"] == "StepScaling"
    assert policy["stepAdjustments"] == [
        {"metricIntervalLowerBound": "0", "metricIntervalUpperBound": "1", "scalingAdjustment": 20},
        {"metricIntervalLowerBound": "1", "metricIntervalUpperBound": "2", "scalingAdjustment": 50},
        {"metricIntervalLowerBound": "2", "scalingAdjustment": 100},
    ]
    queries = {query["id"]: query for query in alarm["metricQueries"]}
    assert queries["slow"]["expression"] == "IF(requests >= 20, latency)"
    assert queries["latency"]["metric"] == {
        "namespace": "AWS/ApplicationELB",
        "metricName": "TargetResponseTime",
        "stat": "p95",
        "period": 60,
        "dimensions": {"LoadBalancer": "<gpufleet-lb.arnSuffix>", "TargetGroup": "<gpufleet-targets.arnSuffix>"},
    }
    assert [id_ for id_, query in queries.items() if query["returnData"]] == ["slow"]
    assert alarm["threshold"] == 2
    assert alarm["alarmActions"] == ["<gpufleet-latency.arn>"]
    assert alarm["treatMissingData"] == "notBreaching"
    assert "okActions" not in alarm


def test_a_fleet_that_may_be_empty_has_no_alarm_for_it(run):
    names = {r.name for r in run(scaling={"min": 0, "max": 3}).of_type("MetricAlarm")}
    assert "gpufleet-no-healthy-instance" not in names
    assert "gpufleet-unhealthy-instances" in names


def test_pinned_ami_is_taken_as_it_is(run):
    ami = "ami-0123456789abcdef0"
    assert run(instance={"ami": ami}).one("LaunchTemplate")["imageId"] == ami


def test_the_programs_own_tags_win(run):
    program = run(tags={"team": "search", "gpufleet:stack": "mine", "Name": "mine"})
    assert program.one("Vpc")["tags"] == {
        "team": "search",
        "gpufleet:stack": "test-us-east-1",
        "Name": "test-us-east-1-vpc",
    }


def test_production_has_a_gateway_for_each_zone_and_logs_unless_it_says_otherwise(run):
    def kinds(*, protect: bool = True, **network):
        program = run(stack="prod-us-east-1", network=network, protect=protect)
        return {kind: len(program.of_type(kind)) for kind in ("NatGateway", "FlowLog", "Bucket")}

    zones = len({run().run.plan.network.subnets[0].zone_id, *run().run.plan.availability_zone_ids})
    assert kinds() == {"NatGateway": zones, "FlowLog": 1, "Bucket": 1}
    assert kinds(protect=False) == kinds(), "lifting the protection changes nothing else"
    assert kinds(natPerZone=False, flowLogs=False, accessLogs=False) == {"NatGateway": 1, "FlowLog": 0, "Bucket": 0}
    given = kinds(vpcId=VPC, subnetIds=PRIVATE)
    assert given == {"NatGateway": 0, "FlowLog": 0, "Bucket": 1}, (
        "nothing in a given VPC, but logs of our load balancer"
    )


def test_endpoints_admit_the_fleet_before_they_take_the_services_names(run):
    program = run(network={"endpoints": ["ecr", "logs", "ssm"]})
    endpoints = {r.name: r for r in program.of_type("VpcEndpoint") if r.inputs["vpcEndpointType"] == "Interface"}
    services = {"ecr-api": "ecr.api", "ecr-dkr": "ecr.dkr", "logs": "logs", "ssm": "ssm", "ssmmessages": "ssmmessages"}
    assert {name: e.inputs["serviceName"] for name, e in endpoints.items()} == {
        f"gpufleet-endpoint-{name}": f"com.amazonaws.us-east-1.{service}" for name, service in services.items()
    }
    for endpoint in endpoints.values():
        assert endpoint.inputs["privateDnsEnabled"] is True
        assert endpoint.inputs["subnetIds"] == program.one("Group")["vpcZoneIdentifiers"]
        assert endpoint.inputs["securityGroupIds"] == ["<gpufleet-endpoints.id>"]
        assert any(urn.endswith("gpufleet-endpoints-from-fleet") for urn in endpoint.dependencies)
    assert ("<gpufleet-endpoints.id>", "<gpufleet-fleet.id>", 443) in rules(program, "SecurityGroupIngressRule")
    assert not [r for r in program.of_type("SecurityGroupEgressRule") if "endpoints" in r.inputs["securityGroupId"]]
    waited_for = {urn.rpartition("::")[2] for urn in program.of_type("Group")[0].dependencies}
    assert set(endpoints) <= waited_for, "an instance finds the way that it is going to use"


def test_flow_logs_are_written_by_a_role_that_can_do_nothing_else(run):
    program = run(network={"flowLogs": True})
    flow_log, group = program.one("FlowLog"), program.one("LogGroup", "flow-logs")
    assert flow_log["vpcId"] == "<gpufleet-vpc.id>"
    assert flow_log["logDestination"] == "<gpufleet-flow-logs.arn>"
    assert flow_log["iamRoleArn"] == "<gpufleet-flow-logs.arn>"
    assert (group["name"], group["retentionInDays"]) == ("/gpufleet/test-us-east-1/flow", 365)
    assert {str(s["Resource"]): s["Action"] for s in program.statements("flow-logs")} == {
        "['<gpufleet-flow-logs.arn>', '<gpufleet-flow-logs.arn>:log-stream:*']": [
            "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents",
        ],
        "*": "logs:DescribeLogGroups",
    }  # fmt: skip
    [trust] = json.loads(program.one("Role", "flow-logs")["assumeRolePolicy"])["Statement"]
    assert trust["Principal"] == {"Service": "vpc-flow-logs.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": "000000000000"}
    assert not [s for s in program.statements() if "flow-logs" in str(s["Resource"])]


def test_access_logs_go_to_a_closed_bucket_whose_policy_comes_first(run):
    program = run(network={"accessLogs": True})
    balancer = program.of_type("LoadBalancer")[0]
    assert balancer.inputs["accessLogs"] == {"bucket": "<gpufleet-access-logs.id>", "enabled": True}
    assert any(":BucketPolicy::" in urn for urn in balancer.property_dependencies["accessLogs"])
    bucket = program.one("Bucket")
    assert bucket["forceDestroy"] is False
    assert "bucket" not in bucket
    closed = program.one("BucketPublicAccessBlock")
    assert all(
        closed[key] for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    )
    assert program.one("BucketOwnershipControls")["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
    [encryption] = program.one("BucketServerSideEncryptionConfiguration")["rules"]
    assert encryption["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    [rule] = program.one("BucketLifecycleConfiguration")["rules"]
    assert (rule["status"], rule["expiration"]) == ("Enabled", {"days": 365})
    writing, plain = json.loads(program.one("BucketPolicy")["policy"])["Statement"]
    assert writing == {
        "Effect": "Allow",
        "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": "<gpufleet-access-logs.arn>/AWSLogs/000000000000/*",
        "Condition": {
            "ArnLike": {"aws:SourceArn": "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/*"}
        },
    }
    assert (plain["Effect"], plain["Principal"], plain["Action"]) == ("Deny", "*", "s3:*")
    assert plain["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert set(plain["Resource"]) == {"<gpufleet-access-logs.arn>", "<gpufleet-access-logs.arn>/*"}
    assert "accessLogs" not in run().one("LoadBalancer")


def test_a_development_stack_may_say_that_its_access_logs_go_with_it(run):
    program = run(network={"accessLogs": True, "deleteAccessLogs": True})
    assert program.one("Bucket")["forceDestroy"] is True
    assert not any(r.protect for r in program.of_type("Bucket"))


def test_the_tls_policy_can_be_a_stricter_one(run):
    policy = "ELBSecurityPolicy-TLS13-1-3-2021-06"
    program = run(network={"certificateArn": CERTIFICATE, "tlsPolicy": policy})
    assert program.one("Listener", "https")["sslPolicy"] == policy
