"""What exists in the emulator, apart from what AWS itself puts in an account.

Owns the list of kinds that are looked at and the rule for each of what does not count: default network, managed
policies, service-linked roles, public images, stand-ins, and what AWS keeps showing for a while after its deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from moto.backends import get_backend
from moto.core.models import DEFAULT_ACCOUNT_ID

from gpufleet.emulator import standins

Lister = Callable[[Any], Iterable[str]]

GONE = frozenset({"deleted", "terminated", "PendingDeletion"})


def _keys(attribute: str, keep: Callable[[Any], bool] = lambda _: True) -> Lister:
    """The keys of a dictionary of a backend whose values count."""
    return lambda backend: [str(key) for key, value in getattr(backend, attribute).items() if keep(value)]


def _nested(attribute: str, keep: Callable[[Any], bool] = lambda _: True) -> Lister:
    """The same for a dictionary of dictionaries (moto keeps subnets by zone, security groups by VPC)."""
    return lambda backend: [
        str(key) for inner in getattr(backend, attribute).values() for key, value in inner.items() if keep(value)
    ]


def _alive(resource: Any) -> bool:
    return getattr(resource, "state", None) not in GONE


def _in_own_vpc(resource: Any) -> bool:
    vpc = resource.ec2_backend.vpcs.get(resource.vpc_id)
    return vpc is None or not vpc.is_default


def _own_keys(kms: Any) -> list[str]:
    """Keys that are neither on their way out nor AWS's own, whose aliases begin with `alias/aws/`."""
    return [
        key_id
        for key_id, key in kms.keys.items()
        if key.key_state not in GONE and not any(alias.startswith("alias/aws/") for alias in key.aliases)
    ]


LISTERS: dict[str, dict[str, Lister]] = {
    "ec2": {
        "address": lambda ec2: [address.allocation_id for address in ec2.addresses],
        "flow-log": _keys("flow_logs"),
        "instance": lambda ec2: [i.id for r in ec2.reservations.values() for i in r.instances if _alive(i)],
        "internet-gateway": _keys("internet_gateways"),
        "launch-template": _keys("launch_templates"),
        "nat-gateway": _keys("nat_gateways", _alive),
        "network-acl": _keys("network_acls", lambda acl: not acl.default),
        "network-interface": _keys("enis"),
        "route-table": _keys("route_tables", lambda table: table.main_association_id is None),
        "security-group": _nested("groups", lambda group: group.name != "default"),
        "subnet": _nested("subnets", _in_own_vpc),
        "volume": _keys("volumes"),
        "vpc": _keys("vpcs", lambda vpc: not vpc.is_default),
        "vpc-endpoint": _keys("vpc_end_points", _alive),
    },
    "autoscaling": {
        "group": _keys("autoscaling_groups"),
        "launch-configuration": _keys("launch_configurations"),
        "lifecycle-hook": _keys("lifecycle_hooks"),
        "policy": lambda autoscaling: [policy.arn for policy in autoscaling.policies.values()],
        "scheduled-action": lambda autoscaling: [
            f"{action.auto_scaling_group_name}/{action.scheduled_action_name}"
            for action in autoscaling.scheduled_actions.values()
        ],
    },
    "elbv2": {
        "load-balancer": _keys("load_balancers"),
        "listener": lambda elb: [arn for balancer in elb.load_balancers.values() for arn in balancer.listeners],
        "target-group": _keys("target_groups"),
    },
    "iam": {
        "instance-profile": _keys("instance_profiles"),
        "policy": _keys("managed_policies", lambda policy: ":aws:policy/" not in policy.arn),
        "role": _keys("roles", lambda role: not role.path.startswith("/aws-service-role/")),
    },
    "acm": {"certificate": _keys("_certificates")},
    "cloudwatch": {"alarm": _keys("alarms"), "dashboard": _keys("dashboards")},
    "events": {
        "rule": lambda events: [rule.arn for bus in events.event_buses.values() for rule in bus.rules.values()],
    },
    "kms": {"key": _own_keys},
    "logs": {"log-group": _keys("groups")},
    "s3": {"bucket": _keys("buckets")},
    "secretsmanager": {"secret": _keys("secrets")},
    "sns": {"subscription": _keys("subscriptions"), "topic": _keys("topics")},
    "sqs": {"queue": _keys("queues")},
    "ssm": {"parameter": lambda ssm: [name for name in ssm._parameters if not name.startswith("/aws/service/")]},
    "wafv2": {"web-acl": _keys("wacls")},
}


def resources() -> dict[str, dict[str, list[str]]]:
    """Ids by region and kind (`ec2:vpc`), for the regions in use; only kinds of which something exists."""
    found: dict[str, dict[str, list[str]]] = {}
    for service, listers in LISTERS.items():
        for region, backend in sorted(get_backend(service)[DEFAULT_ACCOUNT_ID].items()):  # type: ignore[call-overload]
            for kind, lister in listers.items():
                if ids := sorted(set(lister(backend)) - standins.made):
                    found.setdefault(region, {})[f"{service}:{kind}"] = ids
    return found
