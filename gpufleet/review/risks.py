"""What can go wrong when a change is applied, as far as it can be told beforehand.

Owns the kinds of risk and when each is called. A risk is called when the change brings it or makes it worse, not when
it was there before. Leaves which operations there are to `operations`, and whether a risk fails a gate to `compare`.
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpufleet.review.facts import names, usd
from gpufleet.review.operations import Operation
from gpufleet.review.snapshot import Snapshot

KINDS: Mapping[str, str] = {
    "replacement": "a resource is replaced",
    "protected": "Pulumi refuses it until a protection is lifted",
    "removal": "something that holds data or traffic goes",
    "rollout": "every instance is replaced",
    "choice": "another instance type although the stack file asks for nothing else",
    "headroom": "little GPU memory is left",
    "fallback": "one fallback type at most",
    "zones": "one availability zone only",
    "spot": "more of the fleet is Spot",
    "quota": "more of an account's quota is needed",
    "public": "reachable from more of the internet",
    "permissions": "the instances may do more",
    "cost": "the cost rises above the limit",
}
"""Every kind of risk, by the name that `--fail-on` takes."""

DECIDES_NO_TYPE = ("scaling", "tags")
"""Sections of a stack file by which no instance type is chosen."""

MIN_HEADROOM_PERCENT = 5.0
"""Of a GPU's memory budget."""

CONSEQUENCES: Mapping[str, str] = {
    "aws:autoscaling:Group": "a second fleet comes up beside it, and its instances go with it",
    "aws:cloudwatch:LogGroup": "its logs are lost",
    "aws:ec2:Eip": "the fleet's requests come from another address",
    "aws:ec2:NatGateway": "the instances' open connections to the internet break off",
    "aws:ec2:Subnet": "what lies in it moves",
    "aws:ec2:Vpc": "everything in it goes too",
    "aws:iam:Role": "its ARN changes: key and bucket policies that name it refuse the new one",
    "aws:lb:Listener": "the endpoint refuses connections for a moment",
    "aws:lb:LoadBalancer": "the endpoint gets another DNS name",
    "aws:lb:TargetGroup": "requests may fail until its targets are healthy",
    "aws:s3:Bucket": "AWS refuses it while there are logs in it, unless network.deleteAccessLogs is true; then they are lost",
}
"""What it means that a resource is replaced or deleted, by type."""


INSTANCE_ROLE = "<gpufleet-instance.id>"
"""As policies name it in a run of the program."""

PRIVATE_NETWORKS = tuple(
    ipaddress.IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
"""RFC 1918 and RFC 6598; Python's own `is_private` has more, such as the networks of examples."""


class Risk(NamedTuple):
    """One thing to look at before the change is applied."""

    kind: str
    message: str


class Context(NamedTuple):
    """What the rules look at. `before` is None for a new stack; `operations` where nobody can tell them."""

    before: Snapshot | None
    after: Snapshot
    operations: tuple[Operation, ...]
    min_headroom_percent: float

    def plans(self, *path: str) -> tuple[Any, Any]:
        """A value of both plans."""
        return _at(_plan(self.before), path), _at(_plan(self.after), path)


Rule = Callable[[Context], Iterable[Risk]]


def find_risks(context: Context) -> tuple[Risk, ...]:
    """Every risk that the change brings or makes worse."""
    return tuple(risk for rule in _RULES for risk in rule(context))


def left_standing(before: Snapshot) -> Risk:
    """That of a stack whose file is gone."""
    count = len(before.resources or ())
    monthly = _at(before.plan, ("cost", "monthly", "min"))
    return Risk(
        "removal",
        f"the stack file is gone, but not what it made: {count} resources go on running, for at least {usd(monthly)} USD per "
        "month, until somebody runs `pulumi destroy` for the stack",
    )


def _replacement(context: Context) -> Iterator[Risk]:
    for operation in context.operations:
        if operation.kind == "replace":
            consequence = CONSEQUENCES.get(operation.short_type)
            yield Risk(
                "replacement",
                f"{operation.short_type} {operation.name} is replaced, because {_and(operation.forced_by)} cannot be changed "
                f"in place{f': {consequence}' if consequence else ''}",
            )


def _protected(context: Context) -> Iterator[Risk]:
    """What stands may be protected; whoever means it lifts the protection first."""
    standing = {r["name"]: r["urn"] for r in (context.before and context.before.resources) or () if r.get("protect")}
    for operation in context.operations:
        if operation.kind in ("replace", "delete") and operation.name in standing:
            urn = standing[operation.name]
            yield Risk(
                "protected",
                f"Pulumi refuses to {operation.kind} {operation.short_type} {operation.name}, which is protected; to allow it: "
                f"`pulumi state unprotect '{urn}' --stack {urn.split('::')[0].removeprefix('urn:pulumi:')}`, then `pulumi up`",
            )


def _removal(context: Context) -> Iterator[Risk]:
    for operation in context.operations:
        if operation.kind == "delete" and operation.short_type in CONSEQUENCES:
            consequence = CONSEQUENCES[operation.short_type]
            yield Risk("removal", f"{operation.short_type} {operation.name} is deleted: {consequence}")


def _rollout(context: Context) -> Iterator[Risk]:
    """A new version of the launch template starts an instance refresh. A new stack has no instances yet."""
    template = next((o for o in context.operations if o.kind == "update" and o.new_version_because_of), None)
    plan = context.after.plan
    if template is None or plan is None:
        return
    policy = next(
        (r["inputs"].get("instanceMaintenancePolicy") for r in context.after.resources or () if _is_group(r)), None
    )
    spare_percent = (policy or {}).get("maxHealthyPercentage", 100) - 100
    order = "new ones first" if (policy or {}).get("minHealthyPercentage", 100) == 100 else "old ones go first"
    sizes = ", ".join(
        f"about {_minutes(_refresh_seconds(plan, size, spare_percent))} at {size} {'instance' if size == 1 else 'instances'}"
        for size in sorted({plan["capacity"]["min"], plan["capacity"]["max"]} - {0})
    )
    yield Risk(
        "rollout",
        f"every instance is replaced in turn, {order} ({sizes}), because the launch template changes: "
        f"{_and(template.new_version_because_of)}",
    )


def _choice(context: Context) -> Iterator[Risk]:
    """The catalogue or the planner moved a stack: whoever refreshed a price did not ask for another machine."""
    before, after = context.plans("instance", "type")
    if context.before is None or before is None or after is None or before == after:
        return
    if _deciding(context.before) != _deciding(context.after):
        return
    old = _row(context.after.plan, before)
    if old is None or old["verdict"] == "rejected":
        remedy = f"{before} cannot serve it any more" + (f": {old['reason']}" if old else ": it is not offered")
    else:
        remedy = f"instance.type: {before} in the stack file keeps it where it is"
    was, is_ = (_price(context.before.plan, name) for name in (before, after))
    moves = (
        f"{before} {was} → {_price(context.after.plan, before)}, {after} {is_} → {_price(context.after.plan, after)}"
    )
    yield Risk(
        "choice",
        f"the type moves from {before} to {after} although the stack file asks for nothing else: the catalogue or the planner "
        f"did it (USD per hour: {moves}); {remedy}",
    )


def _headroom(context: Context) -> Iterator[Risk]:
    before, after = (_headroom_percent(_plan(side)) for side in (context.before, context.after))
    if after is None or after >= context.min_headroom_percent or (before is not None and before <= after):
        return
    gib = _at(context.after.plan, ("memory", "perGpu", "headroomGiB"))
    was = f", {before:.1f}% before" if before is not None else ""
    yield Risk("headroom", f"{gib:.2f} GiB of each GPU's memory budget are left ({after:.1f}%{was})")


def _fallback(context: Context) -> Iterator[Risk]:
    before, after = context.plans("fallbacks")
    if after is None or len(after) > 1 or (before is not None and len(before) <= len(after)):
        return
    chosen = _at(context.after.plan, ("instance", "type"))
    left = f"only {after[0]} can stand in" if after else "nothing can stand in"
    yield Risk("fallback", f"{left} when EC2 is short of {chosen}")


def _zones(context: Context) -> Iterator[Risk]:
    before, after = context.plans("availabilityZoneIds")
    if after is not None and len(after) == 1 and (before is None or len(before) > 1):
        yield Risk("zones", f"the fleet can run in {after[0]} only")


def _spot(context: Context) -> Iterator[Risk]:
    (share_before, share), (base_before, base) = (
        context.plans("capacity", key) for key in ("spotPercentage", "onDemandBase")
    )
    if not share:
        return
    if share > (share_before or 0):
        yield Risk(
            "spot", f"{share:g}% of the instances above the on-demand base are Spot, {share_before or 0:g}% before"
        )
    elif base_before is not None and base < base_before:
        yield Risk(
            "spot", f"the on-demand base falls from {base_before} to {base} instances, and {share:g}% above it are Spot"
        )


def _quota(context: Context) -> Iterator[Risk]:
    """A revision that does not say what it needs is not compared."""
    before, after = context.plans("quotas")
    if after is None or (context.before is not None and before is None):
        return
    had = {(need["purchaseOption"], need["name"]): need["vcpu"] for need in before or ()}
    for need in after:
        was = had.get((need["purchaseOption"], need["name"]), 0)
        if need["vcpu"] > was:
            code = f" ({need['code']})" if need["code"] else ""
            region = _at(context.after.plan, ("region",))
            yield Risk("quota", f"up to {need['vcpu']} vCPU in {region} of {need['name']}{code}, {was} before")


def _public(context: Context) -> Iterator[Risk]:
    internal_before, internal = context.plans("network", "internal")
    if internal is False and internal_before is not False:
        yield Risk("public", "the endpoint becomes internet-facing")
    known = [_network(rule) for rule in _ingress(context.before)]
    opened = sorted(
        {
            str(network)
            for network in map(_network, _ingress(context.after))
            if not any(network.subnet_of(other) for other in (*PRIVATE_NETWORKS, *known))
        }
    )
    if opened:
        yield Risk("public", f"newly admitted: {names(opened)}")


def _permissions(context: Context) -> Iterator[Risk]:
    if context.before is None:
        return
    gained = sorted(_grants(context.after) - _grants(context.before))
    if gained:
        yield Risk("permissions", f"the instance role gains {names([f'{action} on {on}' for action, on in gained], 4)}")


_RULES: tuple[Rule, ...] = (
    _replacement, _protected, _removal, _rollout, _choice, _headroom, _fallback, _zones, _spot, _quota, _public,
    _permissions,
)  # fmt: skip


# What the rules read ----------------------------------------------------------------------------------------------


def _plan(snapshot: Snapshot | None) -> Mapping[str, Any] | None:
    return None if snapshot is None else snapshot.plan


def _at(document: Any, path: Sequence[str]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _deciding(snapshot: Snapshot) -> Mapping[str, Any]:
    """What is asked of the machine; the keys for the provider are not."""
    asked = snapshot.requirements or {}
    return {key: value for key, value in asked.items() if key not in DECIDES_NO_TYPE and ":" not in key}


def _row(plan: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    candidates: Sequence[Mapping[str, Any]] = _at(plan, ("candidates",)) or ()
    return next((row for row in candidates if row["type"] == name), None)


def _price(plan: Mapping[str, Any] | None, name: str) -> str:
    row = _row(plan, name)
    price = None if row is None else row["hourlyUsd"]
    return "not offered" if row is None else "unknown" if price is None else f"{price:.4f}"


def _headroom_percent(plan: Mapping[str, Any] | None) -> float | None:
    per_gpu = _at(plan, ("memory", "perGpu"))
    if not per_gpu or per_gpu.get("headroomGiB") is None or not per_gpu["budgetGiB"]:
        return None
    return float(100 * per_gpu["headroomGiB"] / per_gpu["budgetGiB"])


def _refresh_seconds(plan: Mapping[str, Any], instances: int, spare_percent: float) -> int:
    """A batch is the spare share of the group, at least one instance, and takes the warm-up of one; it waits at each
    checkpoint but the last."""
    batch = max(1, math.floor(instances * spare_percent / 100))
    stops = len(_at(plan, ("rollout", "checkpointPercents")) or ()) - 1
    waiting = stops * plan["rollout"]["checkpointDelaySeconds"] if stops > 0 and instances > stops else 0
    return int(math.ceil(instances / batch) * plan["timing"]["instanceWarmupSeconds"] + waiting)


def _minutes(seconds: int) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _is_group(resource: Mapping[str, Any]) -> bool:
    return str(resource["type"]).endswith(":Group") and str(resource["type"]).startswith("aws:autoscaling/")


def _ingress(snapshot: Snapshot | None) -> Iterator[str]:
    for resource in (snapshot and snapshot.resources) or ():
        cidr = resource["inputs"].get("cidrIpv4")
        if cidr and str(resource["type"]).endswith(":SecurityGroupIngressRule"):
            yield cidr


def _network(cidr: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(cidr, strict=False)


def _grants(snapshot: Snapshot) -> set[tuple[str, str]]:
    """Every (action, resource) that the policies of the instances' role allow."""
    found = set()
    for resource in snapshot.resources or ():
        if not str(resource["type"]).endswith(":RolePolicy") or resource["inputs"]["role"] != INSTANCE_ROLE:
            continue
        for statement in json.loads(resource["inputs"]["policy"])["Statement"]:
            if statement["Effect"] == "Allow":
                found |= {(a, r) for a in _listed(statement["Action"]) for r in _listed(statement.get("Resource", "*"))}
    return found


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _and(words: Iterable[str]) -> str:
    *most, last = [*words] or [""]
    return f"{', '.join(most)} and {last}" if most else last
