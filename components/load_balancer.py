"""The way in: the load balancer, its target group and listeners, and who may talk to whom.

Owns both security groups, the fleet's too, because each names the other. Leaves registering instances to the fleet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.network import EVERYWHERE
from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan

HTTP_PORT = 80
HTTPS_PORT = 443
HEALTH_CHECK_INTERVAL_SECONDS = 30
HEALTH_CHECK_TIMEOUT_SECONDS = 15
"""A server under full load answers its health path late; that is no reason to take it out."""
HEALTHY_AFTER_CHECKS = 2
UNHEALTHY_AFTER_CHECKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerArgs:
    """The plan, the network that `Network` made or passed through, and the bucket of the access logs where there is one."""

    plan: DeploymentPlan
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    log_bucket_name: pulumi.Input[str] | None
    tags: Tags


class LoadBalancer(pulumi.ComponentResource):
    """An application load balancer in front of the fleet.

    HTTP on port 80 without a certificate; with one, HTTPS on 443 and a redirect on 80. The logical names are short and
    without the stack's name: the provider adds eight characters to them and AWS ends at 32.
    """

    endpoint_url: pulumi.Output[str]
    dns_name: pulumi.Output[str]
    port: int
    """Of the endpoint."""
    arn_suffix: pulumi.Output[str]
    target_group_arn: pulumi.Output[str]
    target_group_arn_suffix: pulumi.Output[str]
    fleet_security_group_id: pulumi.Output[str]

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:load_balancer:LoadBalancer", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.port = HTTPS_PORT if args.plan.network.certificate_arn else HTTP_PORT

        balancer_group, fleet_group = self._create_security_groups()
        self._create_rules(balancer_group, fleet_group)
        balancer = self._create_load_balancer(balancer_group)
        targets = self._create_target_group()
        self._create_listeners(balancer, targets)

        self.dns_name = balancer.dns_name
        self.endpoint_url = balancer.dns_name.apply(f"{'https' if self.port == HTTPS_PORT else 'http'}://{{}}".format)
        self.arn_suffix = balancer.arn_suffix
        self.target_group_arn = targets.arn
        self.target_group_arn_suffix = targets.arn_suffix
        self.fleet_security_group_id = fleet_group.id
        self.register_outputs({"endpointUrl": self.endpoint_url, "targetGroupArn": self.target_group_arn})

    def _create_security_groups(self) -> tuple[aws.ec2.SecurityGroup, aws.ec2.SecurityGroup]:
        """That of the load balancer and that of the fleet. AWS replaces a group whose description changes."""
        balancer, fleet = (
            aws.ec2.SecurityGroup(
                f"{self._name}-{suffix}",
                description=description,
                vpc_id=self._args.vpc_id,
                tags=self._args.tags.named(suffix),
                opts=self._child,
            )
            for suffix, description in (
                ("lb", "Load balancer of the inference fleet"),
                ("fleet", "Instances of the inference fleet"),
            )
        )
        return balancer, fleet

    def _create_rules(self, balancer: aws.ec2.SecurityGroup, fleet: aws.ec2.SecurityGroup) -> None:
        network, server_port = self._args.plan.network, self._args.plan.server.port
        clients = network.allowed_cidrs or tuple(filter(None, [network.vpc_cidr]))
        for port in sorted({HTTP_PORT, self.port}):
            for cidr in clients:
                self._allow_in(balancer, f"lb-{port}-from-{cidr}", port, "Clients", cidr_ipv4=cidr)
        self._allow_out(
            balancer, "lb-to-fleet", server_port, "Requests to the fleet", referenced_security_group_id=fleet.id
        )
        self._allow_in(
            fleet,
            "fleet-from-lb",
            server_port,
            "Requests from the load balancer",
            referenced_security_group_id=balancer.id,
        )
        # Images, weights, secrets and telemetry, all over HTTPS; DNS, time and instance metadata are link-local.
        self._allow_out(fleet, "fleet-to-https", HTTPS_PORT, "Images, weights and AWS APIs", cidr_ipv4=EVERYWHERE)
        if network.internal:
            self._create_forwarding_rules(balancer, fleet)

    def _create_forwarding_rules(self, balancer: aws.ec2.SecurityGroup, fleet: aws.ec2.SecurityGroup) -> None:
        """An internal endpoint is reached from a laptop by a session that an instance forwards to it."""
        text = "Session Manager port forwarding through an instance"
        self._allow_out(fleet, "fleet-to-lb", self.port, text, referenced_security_group_id=balancer.id)
        self._allow_in(balancer, "lb-from-fleet", self.port, text, referenced_security_group_id=fleet.id)

    def _allow_in(
        self,
        group: aws.ec2.SecurityGroup,
        suffix: str,
        port: int,
        description: str,
        *,
        cidr_ipv4: str | None = None,
        referenced_security_group_id: pulumi.Input[str] | None = None,
    ) -> None:
        suffix = suffix.replace("/", "-")
        aws.vpc.SecurityGroupIngressRule(
            f"{self._name}-{suffix}",
            security_group_id=group.id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            cidr_ipv4=cidr_ipv4,
            referenced_security_group_id=referenced_security_group_id,
            description=description,
            tags=self._args.tags.named(suffix),
            opts=self._child,
        )

    def _allow_out(
        self,
        group: aws.ec2.SecurityGroup,
        suffix: str,
        port: int,
        description: str,
        *,
        cidr_ipv4: str | None = None,
        referenced_security_group_id: pulumi.Input[str] | None = None,
    ) -> None:
        aws.vpc.SecurityGroupEgressRule(
            f"{self._name}-{suffix}",
            security_group_id=group.id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            cidr_ipv4=cidr_ipv4,
            referenced_security_group_id=referenced_security_group_id,
            description=description,
            tags=self._args.tags.named(suffix),
            opts=self._child,
        )

    def _create_load_balancer(self, group: aws.ec2.SecurityGroup) -> aws.lb.LoadBalancer:
        plan = self._args.plan
        return aws.lb.LoadBalancer(
            f"{self._name}-lb",
            load_balancer_type="application",
            internal=plan.network.internal,
            subnets=self._args.subnet_ids,
            security_groups=[group.id],
            # Header names that no server reads alike, and requests that two servers would split differently.
            drop_invalid_header_fields=True,
            desync_mitigation_mode="defensive",
            access_logs={"bucket": bucket, "enabled": True} if (bucket := self._args.log_bucket_name) else None,
            # AWS's default of 60 s would cut off long generations.
            idle_timeout=plan.timing.longest_request_seconds,
            tags=self._args.tags.named("lb"),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=plan.protects,
                # Its group is another one in another VPC, into which AWS moves no load balancer.
                replace_on_changes=["securityGroups"],
            ),
        )

    def _create_target_group(self) -> aws.lb.TargetGroup:
        plan = self._args.plan
        return aws.lb.TargetGroup(
            f"{self._name}-targets",
            vpc_id=self._args.vpc_id,
            target_type="instance",
            protocol="HTTP",
            port=plan.server.port,
            # Generations differ in length by orders of magnitude: turns would queue short ones behind long ones.
            load_balancing_algorithm_type="least_outstanding_requests",
            deregistration_delay=plan.timing.longest_request_seconds,
            health_check={
                "protocol": "HTTP",
                "path": plan.server.health_path,
                "matcher": "200",
                "interval": HEALTH_CHECK_INTERVAL_SECONDS,
                "timeout": HEALTH_CHECK_TIMEOUT_SECONDS,
                "healthy_threshold": HEALTHY_AFTER_CHECKS,
                "unhealthy_threshold": UNHEALTHY_AFTER_CHECKS,
            },
            tags=self._args.tags.named("targets"),
            opts=self._child,
        )

    def _create_listeners(self, balancer: aws.lb.LoadBalancer, targets: aws.lb.TargetGroup) -> None:
        forward: aws.lb.ListenerDefaultActionArgsDict = {"type": "forward", "target_group_arn": targets.arn}
        redirect: aws.lb.ListenerDefaultActionArgsDict = {
            "type": "redirect",
            "redirect": {"protocol": "HTTPS", "port": str(HTTPS_PORT), "status_code": "HTTP_301"},
        }
        certificate_arn = self._args.plan.network.certificate_arn
        aws.lb.Listener(
            f"{self._name}-http",
            load_balancer_arn=balancer.arn,
            protocol="HTTP",
            port=HTTP_PORT,
            default_actions=[redirect if certificate_arn else forward],
            tags=self._args.tags.named("http"),
            opts=self._child,
        )
        if certificate_arn:
            aws.lb.Listener(
                f"{self._name}-https",
                load_balancer_arn=balancer.arn,
                protocol="HTTPS",
                port=HTTPS_PORT,
                ssl_policy=self._args.plan.network.tls_policy,
                certificate_arn=certificate_arn,
                default_actions=[forward],
                tags=self._args.tags.named("https"),
                opts=self._child,
            )
