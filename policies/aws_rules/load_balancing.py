"""Rules for load balancers, their listeners and target groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aws_rules.rule import (
    PRODUCTION_STACKS,
    UNKNOWN,
    Config,
    Option,
    Resource,
    Rule,
    Stack,
    StackRule,
    expect,
    in_option,
    in_stacks,
    integer,
    is_not,
    is_one_of,
    is_set,
    read,
    shown,
    strings,
    unset_or,
    where,
)

BALANCER = "aws:lb/loadBalancer:LoadBalancer"
LISTENER = "aws:lb/listener:Listener"
TARGETS = "aws:lb/targetGroup:TargetGroup"
WEB_ACL = "aws:wafv2/webAclAssociation:WebAclAssociation"

TLS_POLICIES = (
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04",
    "ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-PQ-2025-09",
    "ELBSecurityPolicy-TLS13-1-3-PQ-2025-09",
    "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
    "ELBSecurityPolicy-FS-1-2-Res-2020-10",
    "ELBSecurityPolicy-FS-1-2-Res-2019-08",
)
"""Nothing below TLS 1.2, and forward secrecy only."""

ENCRYPTED = ("HTTPS", "TLS")
AUTONAMED_SUFFIX = r"-[0-9a-f]{7,}"
"""What the provider adds to a logical name."""


def is_application(balancer: Resource) -> bool:
    return balancer.get("loadBalancerType") in (None, "application")


def is_public(balancer: Resource) -> bool:
    """An internet-facing load balancer.

    AWS makes one where `internal` is not set. A preview then shows it as unknown, though it is made from no resource.
    """
    internal = balancer.get("internal")
    return not balancer.uses.get("internal") if internal is UNKNOWN else not internal


def encrypts(listener: Resource) -> bool:
    return listener.get("protocol") in ENCRYPTED


def unprotected(balancer: Resource, config: Config) -> Iterator[str]:
    protected = balancer.protect or balancer.get("enableDeletionProtection") in (True, UNKNOWN)
    if in_stacks(balancer, config) and not protected:
        yield f"nothing keeps stack {balancer.stack} from deleting it"


def unlogged(balancer: Resource, config: Config) -> Iterator[str]:
    if in_stacks(balancer, config):
        yield from expect(("accessLogs.enabled", is_one_of(True)), ("accessLogs.bucket", is_set))(balancer, config)


def few_zones(balancer: Resource, config: Config) -> Iterator[str]:
    given = [balancer.get(key) for key in ("subnets", "subnetMappings")]
    if UNKNOWN not in given and (count := max(len(g or ()) for g in given)) < config["minimum"]:
        yield f"it has {count} subnets, must have at least {shown(config['minimum'])}, each in another zone"


def open_without_certificate(balancer: Resource, stack: Stack, config: Config) -> Iterator[str]:
    if not is_public(balancer):
        return
    if config["internetFacing"] == "never":
        yield f"internal is {shown(balancer.get('internal'))}, must be true"
    elif not any(encrypts(listener) for listener in stack.users(balancer, LISTENER, "loadBalancerArn")):
        yield "it faces the internet and has no HTTPS listener"


def no_firewall(balancer: Resource, stack: Stack, _: Config) -> Iterator[str]:
    if is_public(balancer) and not stack.users(balancer, WEB_ACL, "resourceArn"):
        yield "it faces the internet and has no web ACL"


def answers_in_clear(listener: Resource, stack: Stack, config: Config) -> Iterator[str]:
    """What a listener of somebody else's load balancer is for, nobody here can know."""
    balancers = stack.used(listener, "loadBalancerArn", BALANCER)
    concerned = [b for b in balancers if config["internal"] or is_public(b)]
    if listener.get("protocol") != "HTTP" or not concerned:
        return
    for at, action in read(listener.properties, "defaultActions[]"):
        if action is not UNKNOWN and not redirects_to_https(action):
            yield f"protocol is HTTP and {at} is {shown(action.get('type'))}, must be a redirect to HTTPS"


def redirects_to_https(action: Mapping[str, Any]) -> bool:
    return action.get("type") in ("redirect", UNKNOWN) and all(
        protocol in ("HTTPS", UNKNOWN) for _, protocol in read(action, "redirect.protocol")
    )


def fixed_name(targets: Resource, _: Config) -> Iterator[str]:
    name = targets.get("name")
    if isinstance(name, str) and not re.fullmatch(re.escape(targets.name) + AUTONAMED_SUFFIX, name):
        yield f"name is {shown(name)}, so its replacement cannot be made beside it"


RULES: tuple[Rule | StackRule, ...] = (
    Rule(
        name="load-balancer-drops-invalid-headers",
        types=(BALANCER,),
        says="Requests whose headers are not valid do not reach the servers as they are.",
        mend="Set drop_invalid_header_fields to True.",
        ids=("ELB.4", "CKV_AWS_131", "AWS-0052"),
        find=where(is_application, expect(("dropInvalidHeaderFields", is_one_of(True)))),
    ),
    Rule(
        name="load-balancer-desync",
        types=(BALANCER,),
        says="Requests that load balancer and server could read differently are refused.",
        mend='Set desync_mitigation_mode to "defensive" (AWS\'s default) or "strictest".',
        ids=("ELB.12", "CKV_AWS_328"),
        find=where(is_application, expect(("desyncMitigationMode", unset_or("defensive", "strictest")))),
    ),
    Rule(
        name="load-balancer-access-logs",
        types=(BALANCER,),
        says="A load balancer keeps a record of its requests.",
        mend="Set access_logs to a bucket in the same region whose policy admits the log delivery, and make the policy"
        " first (depends_on).",
        ids=("ELB.5", "CKV_AWS_91", "AwsSolutions-ELB2"),
        options={"stacks": PRODUCTION_STACKS},
        find=unlogged,
    ),
    Rule(
        name="load-balancer-protected",
        types=(BALANCER,),
        says="A production load balancer is not deleted by mistake: clients know its name.",
        mend="Set Pulumi's option protect=True, or enable_deletion_protection=True.",
        ids=("ELB.6", "CKV_AWS_150"),
        options={"stacks": PRODUCTION_STACKS},
        find=unprotected,
    ),
    Rule(
        name="load-balancer-several-zones",
        types=(BALANCER,),
        says="A load balancer outlives the loss of a zone.",
        mend="Give it subnets of at least two zones.",
        ids=("ELB.13",),
        options={"minimum": integer(2, "Least number of subnets", minimum=1)},
        find=few_zones,
    ),
    StackRule(
        name="load-balancer-internal-or-encrypted",
        types=(BALANCER,),
        says="A load balancer is internal, or faces the internet with HTTPS only.",
        mend="Set internal to True, or add an HTTPS listener with a certificate of ACM; the option `internetFacing` set"
        ' to "never" refuses the second.',
        ids=("ELB.18", "CKV_AWS_2", "AWS-0053", "AWS-0054"),
        severity="high",
        options={
            "internetFacing": Option(
                {
                    "type": "string",
                    "enum": ["with-certificate", "never"],
                    "default": "with-certificate",
                    "description": "Whether a load balancer may face the internet",
                }
            )
        },
        find=open_without_certificate,
    ),
    StackRule(
        name="load-balancer-web-acl",
        types=(BALANCER,),
        says="An application load balancer on the internet has a web application firewall.",
        mend="Add an aws.wafv2.WebAclAssociation with its ARN, for rate limits and known bad inputs.",
        ids=("ELB.16", "CKV2_AWS_28", "CKV2_AWS_76"),
        level="advisory",
        find=no_firewall,
    ),
    StackRule(
        name="listener-encrypted",
        types=(LISTENER,),
        says="Nothing is answered in clear text on the internet: HTTP redirects to HTTPS.",
        mend='Set the default action to {"type": "redirect", "redirect": {"protocol": "HTTPS", "port": "443",'
        ' "status_code": "HTTP_301"}}.',
        ids=("ELB.1", "ELB.18", "CKV2_AWS_20", "CKV_AWS_378", "AWS-0054"),
        severity="high",
        options={
            "internal": Option(
                {
                    "type": "boolean",
                    "default": False,
                    "description": "Whether it holds for internal load balancers too, which need a certificate then",
                }
            )
        },
        find=answers_in_clear,
    ),
    Rule(
        name="listener-tls-policy",
        types=(LISTENER,),
        says="Connections use TLS 1.2 or newer with forward secrecy; AWS's own default still admits TLS 1.0.",
        mend='Set ssl_policy to "ELBSecurityPolicy-TLS13-1-2-2021-06".',
        ids=("ELB.17", "CKV_AWS_103", "CKV2_AWS_74", "AWS-0047"),
        severity="high",
        options={"policies": strings(TLS_POLICIES, "Policies that are good enough")},
        find=where(encrypts, expect(("sslPolicy", in_option("policies")))),
    ),
    Rule(
        name="listener-certificate",
        types=(LISTENER,),
        says="An encrypted listener has a certificate.",
        mend="Set certificate_arn to a certificate of ACM in the same region.",
        ids=("CKV_AWS_2",),
        severity="high",
        find=where(encrypts, expect(("certificateArn", is_set))),
    ),
    Rule(
        name="target-group-health-check",
        types=(TARGETS,),
        says="A target gets requests only while a path of its own says that it serves.",
        mend='Set health_check with a path that answers 200 only when the server is ready, such as "/health".',
        ids=("CKV_AWS_261",),
        find=where(
            lambda targets: targets.get("protocol") in ("HTTP", "HTTPS"),
            expect(("healthCheck.path", is_set), ("healthCheck.enabled", is_not(False))),
        ),
    ),
    Rule(
        name="target-group-encrypted",
        types=(TARGETS,),
        says="Load balancer and targets talk over TLS.",
        mend='Set protocol and health_check.protocol to "HTTPS", and give the servers certificates.',
        ids=("ELB.21", "ELB.22", "CKV_AWS_378"),
        severity="low",
        level="disabled",
        reason="Inside the VPC the way from load balancer to server is between two security groups that admit nobody else;"
        " certificates on the instances would have to be made and renewed.",
        find=expect(("protocol", is_one_of("HTTPS", "TLS")), ("healthCheck.protocol", is_one_of("HTTPS", "TLS"))),
    ),
    Rule(
        name="target-group-unnamed",
        types=(TARGETS,),
        says="A target group can be replaced before the old one goes, while the listener still names that.",
        mend="Leave name out: Pulumi makes one that is new for each replacement.",
        find=fixed_name,
    ),
)
