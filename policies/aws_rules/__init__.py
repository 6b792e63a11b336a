"""Rules for an inference fleet on AWS and what stands around it; each module has those of related resources.

`RULES` are all of them, in the order of the modules. `WITHOUT_RULES` are types that need none, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_rules import (
    autoscaling,
    buckets,
    general,
    iam,
    launch_templates,
    load_balancing,
    networks,
    security_groups,
    telemetry,
)
from aws_rules.rule import Rule, StackRule

RULES: tuple[Rule | StackRule, ...] = (
    *launch_templates.RULES,
    *autoscaling.RULES,
    *load_balancing.RULES,
    *security_groups.RULES,
    *networks.RULES,
    *iam.RULES,
    *buckets.RULES,
    *telemetry.RULES,
    *general.RULES,
)

WITHOUT_RULES: Mapping[str, str] = {
    "aws:cloudwatch/eventTarget:EventTarget": "What it may do is in the policy of the topic or role that it names.",
    "aws:ec2/internetGateway:InternetGateway": "It opens nothing: routes, addresses and security groups do.",
    "aws:ec2/route:Route": "Where a route leads is the network's design; what may be reached, security groups say.",
    "aws:ec2/routeTable:RouteTable": "It only holds routes.",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "It only says whose routes they are.",
}
