"""`gpufleet preview`: runs the Pulumi program offline and prints the plan, then every resource that it would create.

Owns which properties of a resource are worth a line, and how they read. Leaves running the program to `offline`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from gpufleet.commands.inputs import errors_for_people, fail, required_stack_option, stack_source
from gpufleet.commands.plan_table import describe_plan
from gpufleet.planner.machine_image import PLACEHOLDER_AMI

if TYPE_CHECKING:
    from gpufleet.offline import ProgramRun, RecordedResource

RULE = ("description", "securityGroupId", "fromPort", "cidrIpv4", "referencedSecurityGroupId")
ALARM = (
    "alarmDescription", "metricName", "statistic", "extendedStatistic", "comparisonOperator", "threshold",
    "evaluationPeriods", "treatMissingData", "alarmActions",
)  # fmt: skip

IMPORTANT_PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "aws:autoscaling:Group": (
        "minSize", "desiredCapacity", "maxSize", "mixedInstancesPolicy.launchTemplate.overrides.instanceType",
        "mixedInstancesPolicy.launchTemplate.launchTemplateSpecification", "mixedInstancesPolicy.instancesDistribution",
        "vpcZoneIdentifiers", "targetGroupArns", "healthCheckType", "healthCheckGracePeriod", "defaultInstanceWarmup",
        "capacityRebalance", "instanceRefresh.preferences", "instanceMaintenancePolicy", "terminationPolicies",
    ),
    "aws:autoscaling:Policy": (
        "policyType", "targetTrackingConfiguration", "adjustmentType", "minAdjustmentMagnitude", "stepAdjustments",
    ),
    "aws:cloudwatch:Dashboard": ("dashboardName", "dashboardBody"),
    "aws:cloudwatch:LogGroup": ("name", "retentionInDays"),
    "aws:cloudwatch:MetricAlarm": ALARM,
    "aws:ec2:FlowLog": ("trafficType", "logDestination", "iamRoleArn"),
    "aws:ec2:LaunchTemplate": (
        "imageId", "userData", "iamInstanceProfile.name", "metadataOptions", "blockDeviceMappings", "networkInterfaces",
        "ebsOptimized", "monitoring.enabled",
    ),
    "aws:ec2:NatGateway": ("subnetId",),
    "aws:ec2:Route": ("destinationCidrBlock", "gatewayId", "natGatewayId"),
    "aws:ec2:RouteTableAssociation": ("routeTableId", "subnetId"),
    "aws:ec2:SecurityGroup": ("description",),
    "aws:ec2:Subnet": ("availabilityZoneId", "cidrBlock", "mapPublicIpOnLaunch"),
    "aws:ec2:Vpc": ("cidrBlock",),
    "aws:ec2:VpcEndpoint": ("serviceName", "vpcEndpointType"),
    "aws:iam:InstanceProfile": ("role",),
    "aws:iam:Role": ("assumeRolePolicy",),
    "aws:iam:RolePolicy": ("policy",),
    "aws:lb:Listener": ("port", "protocol", "sslPolicy", "certificateArn", "defaultActions"),
    "aws:lb:LoadBalancer": (
        "internal", "subnets", "securityGroups", "idleTimeout", "dropInvalidHeaderFields", "desyncMitigationMode", "accessLogs",
    ),
    "aws:lb:TargetGroup": ("port", "protocol", "loadBalancingAlgorithmType", "deregistrationDelay", "healthCheck"),
    "aws:s3:Bucket": ("bucketPrefix", "forceDestroy"),
    "aws:s3:BucketLifecycleConfiguration": ("rules",),
    "aws:s3:BucketOwnershipControls": ("rule",),
    "aws:s3:BucketPolicy": ("policy",),
    "aws:s3:BucketPublicAccessBlock": ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"),
    "aws:s3:BucketServerSideEncryptionConfiguration": ("rules",),
    "aws:s3:BucketVersioning": ("versioningConfiguration",),
    "aws:vpc:SecurityGroupEgressRule": RULE,
    "aws:vpc:SecurityGroupIngressRule": RULE,
}  # fmt: skip
"""What the tree shows of a resource, by its type, dotted where it lies deeper; `--format json` has everything."""

UNKNOWN_NOTE = "<name.property> is known once AWS has made the resource"


@click.command()
@required_stack_option
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", help="Defaults to table.")
def preview(stack: str, output: str) -> None:
    """Run the Pulumi program offline and print the plan, then every resource with its important properties.

    Needs no account, no credentials and no Pulumi CLI. What only AWS can tell is a placeholder.

    \b
    Examples:
      gpufleet preview -s dev-us-east-1
      gpufleet preview -s prod-eu-west-1 --format json
    """
    # Pulumi takes its time to import, and the shell reads this module to complete its options.
    import pulumi

    from gpufleet.offline import run_program, stack_config

    click.echo(f"Previewing {stack} offline: the program runs in process, nothing is created", err=True)
    with errors_for_people(stack_source(stack)):
        config = stack_config(stack)
        try:
            run = run_program(stack, config)
        except pulumi.RunError as error:
            fail(str(error))
    click.echo(json.dumps(as_json(run), indent=2, ensure_ascii=False) if output == "json" else describe(run))


def describe(run: ProgramRun) -> str:
    """The plan, the resources as a tree and the outputs, as text."""
    return "\n\n".join(
        [
            describe_plan(run.plan),
            f"Resources of {run.stack} ({len(run.resources)}; {UNKNOWN_NOTE})\n" + "\n".join(_tree(run.resources)),
            "Outputs\n" + "\n".join(f"  {name}: {_value(value)}" for name, value in sorted(run.outputs.items())),
        ]
    )


def as_json(run: ProgramRun) -> dict[str, Any]:
    """The whole run for other programs; user data by its size and digest."""
    return {
        "stack": run.stack,
        "plan": run.plan.to_json_object(),
        "resources": [_without_user_data(resource.to_json()) for resource in run.resources],
        "outputs": dict(sorted(run.outputs.items())),
        "warnings": list(run.warnings),
    }


def _tree(resources: Iterable[RecordedResource]) -> Iterator[str]:
    """Every resource below its parent, two spaces deeper."""
    children: dict[str, list[RecordedResource]] = {}
    urns = set()
    for resource in resources:
        urns.add(resource.urn)
        children.setdefault(resource.parent, []).append(resource)

    def below(parent: str, indent: str) -> Iterator[str]:
        for resource in children.get(parent, ()):
            yield f"{indent}{short_type(resource.type)}  {resource.name}"
            yield from (f"{indent}      {line}" for line in _properties(resource))
            yield from below(resource.urn, indent + "  ")

    for root in sorted(set(children) - urns):
        yield from below(root, "  ")


def short_type(token: str) -> str:
    """`aws:ec2/vpc:Vpc` as people write it: `aws:ec2:Vpc`."""
    package, module, name = token.split(":")
    return f"{package}:{module.partition('/')[0]}:{name}"


def _properties(resource: RecordedResource) -> Iterator[str]:
    for path in IMPORTANT_PROPERTIES.get(short_type(resource.type), ()):
        value = _at(resource.inputs, path.split("."))
        if value is None:
            continue
        render = RENDERED.get(path)
        yield f"{path}: {render(value) if render else _value(value)}"


def _at(value: Any, path: list[str]) -> Any:
    """What lies at a path; of a list, what lies there in each of its members."""
    if value is None or not path:
        return value
    if isinstance(value, list):
        return [_at(member, path) for member in value]
    return _at(value.get(path[0]), path[1:])


def _value(value: Any) -> str:
    """A value on one line, as in YAML's flow style without its quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        shown = ", ".join(f"{k}: {_value(v)}" for k, v in sorted(value.items()) if v is not None)
        return f"{{{shown}}}"
    if isinstance(value, list):
        return ", ".join(_value(v) for v in value) if value else "none"
    return str(value)


def _without_user_data(resource: dict[str, Any]) -> dict[str, Any]:
    inputs = {name: _user_data(value) if name == "userData" else value for name, value in resource["inputs"].items()}
    return {**resource, "inputs": inputs}


def _user_data(encoded: str) -> str:
    data = base64.b64decode(encoded)
    return f"{len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}"


def _image(ami_id: str) -> str:
    return f"{ami_id} (placeholder offline)" if ami_id == PLACEHOLDER_AMI else ami_id


def _policy(document: str) -> str:
    return "; ".join(_statement(statement) for statement in json.loads(document)["Statement"])


def _statement(statement: Mapping[str, Any]) -> str:
    text = f"{statement['Effect'].lower()} {_value(statement['Action'])}"
    if "Principal" in statement:
        principal = statement["Principal"]
        text += f" to {'everybody' if principal == '*' else _value(list(principal.values()))}"
    if "Resource" in statement:
        text += f" on {_value(statement['Resource'])}"
    if "Condition" in statement:
        text += f" if {_value(statement['Condition'])}"
    return text


def _dashboard(body: str) -> str:
    return "; ".join(widget["properties"]["title"] for widget in json.loads(body)["widgets"])


RENDERED: Mapping[str, Callable[[str], str]] = {
    "assumeRolePolicy": _policy,
    "dashboardBody": _dashboard,
    "imageId": _image,
    "policy": _policy,
    "userData": _user_data,
}
"""Properties that are documents, by name."""
