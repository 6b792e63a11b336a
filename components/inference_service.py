"""The whole service of one plan, put together.

Owns the order of the parts and what the stack tells its user. Everything in it is another component's.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.access import Access, AccessArgs
from components.account import account_id
from components.alarms import Alarms, AlarmsArgs, GroupAlarms, GroupAlarmsArgs
from components.endpoints import Endpoints, EndpointsArgs
from components.fleet import Fleet, FleetArgs
from components.flow_logs import FlowLogs, FlowLogsArgs
from components.launch_template import LaunchTemplate, LaunchTemplateArgs
from components.load_balancer import LoadBalancer, LoadBalancerArgs
from components.log_bucket import LogBucket, LogBucketArgs
from components.logs import Logs, LogsArgs
from components.network import Network, NetworkArgs
from components.notifications import Notifications, NotificationsArgs
from components.observability import Observability, ObservabilityArgs
from components.scaling_policies import ScalingPolicies, ScalingPoliciesArgs
from components.tags import Tags
from gpufleet.planner.naming import flow_log_group_name, log_group_name
from gpufleet.planner.plan import DeploymentPlan
from templates.render import render_user_data

LOCAL_PORTS = {80: 8080, 443: 8443}
"""Where the endpoint's port appears on the laptop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceServiceArgs:
    """What to provision, and the name that everything carries."""

    plan: DeploymentPlan
    stack: str


class InferenceService(pulumi.ComponentResource):
    """Network, rights, load balancer, fleet, scaling and alarms of one plan.

    Raises:
        RequirementError: the user data would be too large; before any resource is registered.
    """

    endpoint_url: pulumi.Output[str]
    connect_command: pulumi.Output[str]
    group_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    log_group_name: pulumi.Output[str]
    dashboard_name: pulumi.Output[str]

    def __init__(self, name: str, args: InferenceServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan, log_group = args.plan, log_group_name(args.stack)
        user_data = render_user_data(plan, stack=args.stack, log_group=log_group)
        super().__init__("gpufleet:inference_service:InferenceService", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        tags, account = Tags(stack=args.stack, extra=plan.tags), account_id()

        logs = Logs(name, LogsArgs(log_group_name=log_group, tags=tags, protects=plan.protects), child)
        network = Network(
            name,
            NetworkArgs(plan=plan.network, zone_ids=plan.availability_zone_ids, region=plan.region, tags=tags),
            child,
        )
        if plan.network.flow_logs:
            FlowLogs(
                name,
                FlowLogsArgs(
                    vpc_id=network.vpc_id,
                    region=plan.region,
                    account_id=account,
                    log_group_name=flow_log_group_name(args.stack),
                    tags=tags,
                    protects=plan.protects,
                ),
                child,
            )
        access = Access(name, AccessArgs(plan=plan, log_group_arn=logs.log_group_arn, tags=tags), child)
        log_bucket = (
            LogBucket(name, LogBucketArgs(plan=plan, account_id=account, tags=tags), child)
            if plan.network.access_logs
            else None
        )
        balancer = LoadBalancer(
            name,
            LoadBalancerArgs(
                plan=plan,
                vpc_id=network.vpc_id,
                subnet_ids=network.load_balancer_subnet_ids,
                log_bucket_name=log_bucket.bucket_name if log_bucket else None,
                tags=tags,
            ),
            child,
        )
        before_the_fleet: list[pulumi.Resource] = [network, access, balancer]
        if plan.network.endpoint_services:
            before_the_fleet.append(
                Endpoints(
                    name,
                    EndpointsArgs(
                        plan=plan.network,
                        region=plan.region,
                        vpc_id=network.vpc_id,
                        subnet_ids=network.instance_subnet_ids,
                        fleet_security_group_id=balancer.fleet_security_group_id,
                        tags=tags,
                    ),
                    child,
                )
            )
        template = LaunchTemplate(
            name,
            LaunchTemplateArgs(
                plan=plan,
                user_data=user_data,
                instance_profile_name=access.instance_profile_name,
                security_group_id=balancer.fleet_security_group_id,
                tags=tags,
            ),
            child,
        )
        notifications = Notifications(name, NotificationsArgs(plan=plan.notifications, tags=tags), child)
        alarms = Alarms(
            name,
            AlarmsArgs(
                plan=plan,
                load_balancer_arn_suffix=balancer.arn_suffix,
                target_group_arn_suffix=balancer.target_group_arn_suffix,
                tags=tags,
                topics=notifications.topics,
            ),
            child,
        )
        fleet = Fleet(
            name,
            FleetArgs(
                plan=plan,
                template_id=template.template_id,
                template_version=template.version,
                subnet_ids=network.instance_subnet_ids,
                target_group_arn=balancer.target_group_arn,
                alarm_names=alarms.ending_rollouts,
                after=before_the_fleet,
                tags=tags,
            ),
            child,
        )
        GroupAlarms(
            name,
            GroupAlarmsArgs(plan=plan, group_name=fleet.group_name, tags=tags, topics=notifications.topics),
            child,
        )
        ScalingPolicies(
            name,
            ScalingPoliciesArgs(
                plan=plan,
                group_name=fleet.group_name,
                load_balancer_arn_suffix=balancer.arn_suffix,
                target_group_arn_suffix=balancer.target_group_arn_suffix,
                tags=tags,
            ),
            child,
        )
        observability = Observability(
            name,
            ObservabilityArgs(
                plan=plan,
                group_name=fleet.group_name,
                load_balancer_arn_suffix=balancer.arn_suffix,
                target_group_arn_suffix=balancer.target_group_arn_suffix,
                tags=tags,
            ),
            child,
        )

        self.endpoint_url = balancer.endpoint_url
        self.connect_command = pulumi.Output.all(fleet.group_name, balancer.dns_name).apply(
            lambda names: connect_command(plan, group_name=names[0], host=names[1], port=balancer.port)
        )
        self.group_name = fleet.group_name
        self.role_arn = access.role_arn
        self.log_group_name = logs.log_group_name
        self.dashboard_name = observability.dashboard_name
        self.register_outputs(
            {
                "endpointUrl": self.endpoint_url,
                "connectCommand": self.connect_command,
                "autoScalingGroupName": self.group_name,
                "instanceRoleArn": self.role_arn,
                "logGroupName": self.log_group_name,
                "dashboardName": self.dashboard_name,
            }
        )


def connect_command(plan: DeploymentPlan, *, group_name: str, host: str, port: int) -> str:
    """A command for a laptop's shell.

    An internal endpoint is forwarded to localhost through an instance of the fleet (AWS CLI with its Session Manager
    plugin); an internet-facing one is simply asked.
    """
    if not plan.network.internal:
        # The certificate is for the user's own name of the endpoint, not for the load balancer's.
        return f"curl https://{host}:{port}{plan.server.health_path} --insecure"
    instance = (
        f"aws autoscaling describe-auto-scaling-groups --region {plan.region} --auto-scaling-group-names {group_name}"
        " --query \"AutoScalingGroups[0].Instances[?LifecycleState=='InService']|[0].InstanceId\" --output text"
    )
    return (
        f'aws ssm start-session --region {plan.region} --target "$({instance})"'
        " --document-name AWS-StartPortForwardingSessionToRemoteHost"
        f" --parameters host={host},portNumber={port},localPortNumber={LOCAL_PORTS[port]}"
    )
