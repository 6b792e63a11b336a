"""Rules for roles and policies: who may take a role, and what it may do where."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aws_rules.rule import Config, Resource, Rule, canonical, document, listed, read, strings

ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
POLICY = "aws:iam/policy:Policy"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
GRANTS = (ROLE_POLICY, POLICY, ROLE)

Statement = Mapping[str, Any]

ADMINISTRATORS = ("AdministratorAccess", "IAMFullAccess", "PowerUserAccess")
GITHUB = "token.actions.githubusercontent.com"

WITHOUT_RESOURCES = (
    "autoscaling:Describe*",
    "cloudwatch:PutMetricData",
    "ec2:Describe*",
    "ec2messages:*",
    "ecr:GetAuthorizationToken",
    "elasticloadbalancing:Describe*",
    "logs:DescribeLogGroups",
    "s3:ListAllMyBuckets",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:*",
    "sts:GetCallerIdentity",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)
"""Actions that know no narrower resource, or whose resource is the caller's own instance, which no policy can name."""

ESCALATIONS = (
    "iam:AddUserToGroup", "iam:AttachGroupPolicy", "iam:AttachRolePolicy", "iam:AttachUserPolicy",
    "iam:CreateAccessKey", "iam:CreateLoginProfile", "iam:CreatePolicyVersion", "iam:PassRole",
    "iam:PutGroupPolicy", "iam:PutRolePolicy", "iam:PutUserPolicy", "iam:SetDefaultPolicyVersion",
    "iam:UpdateAssumeRolePolicy", "iam:UpdateLoginProfile", "sts:AssumeRole",
)  # fmt: skip
"""With one of these on everything, a role can give itself any other right."""

WHOLE_ACCOUNT = re.compile(r"\d{12}|arn:[\w-]+:iam::\d{12}:root")

TLS_MISSING = ([False], ["false"])

DECRYPTION = ("kms:Decrypt", "kms:ReEncryptFrom")


def documents(resource: Resource) -> Iterator[Mapping[str, Any]]:
    """The policies in a resource that grant something; what a preview cannot know is left out."""
    paths = ("inlinePolicies[].policy",) if resource.type == ROLE else ("policy",)
    for path in paths:
        for _, value in read(resource.properties, path):
            yield document(value)


def allowed(policy: Mapping[str, Any]) -> Iterator[Statement]:
    for statement in listed(policy.get("Statement")):
        if isinstance(statement, Mapping) and statement.get("Effect") == "Allow":
            yield statement


def grants(resource: Resource) -> Iterator[Statement]:
    for policy in documents(resource):
        yield from allowed(policy)


def actions(statement: Statement) -> list[str]:
    """As texts; `NotAction` allows whatever it does not name."""
    return ["*"] if "NotAction" in statement else [str(action) for action in listed(statement.get("Action"))]


def everywhere(statement: Statement) -> bool:
    return "NotResource" in statement or "*" in listed(statement.get("Resource"))


def matches(action: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern covers the action; either may have `*`."""
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


def covers(action: str, names: Sequence[str]) -> list[str]:
    """Those of the names that an action, perhaps with `*`, allows."""
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), action.lower())]


def whole_services(resource: Resource, _: Config) -> Iterator[str]:
    for statement in grants(resource):
        for action in actions(statement):
            if re.fullmatch(r"\*|[\w-]+:\*", action):
                what = "everything" if action == "*" else f"every action of {action.partition(':')[0]}"
                yield f"it allows {what}"


def wildcards(resource: Resource, _: Config) -> Iterator[str]:
    for statement in grants(resource):
        for action in actions(statement):
            if "*" in action and not re.fullmatch(r"\*|[\w-]+:\*", action):
                yield f"it allows {action}, which grows with each action that AWS adds"


def nameless_resources(resource: Resource, config: Config) -> Iterator[str]:
    exempt = [*WITHOUT_RESOURCES, *config["everywhere"]]
    for statement in grants(resource):
        broad = [action for action in actions(statement) if not matches(action, exempt)]
        if everywhere(statement) and broad:
            yield f"it allows {', '.join(broad)} on every resource"


def escalations(resource: Resource, _: Config) -> Iterator[str]:
    for statement in grants(resource):
        found = sorted({name for action in actions(statement) for name in covers(action, ESCALATIONS)})
        if everywhere(statement) and found:
            yield f"with {', '.join(found)} on every resource a role can give itself any right"


def any_key(resource: Resource, _: Config) -> Iterator[str]:
    for statement in grants(resource):
        keys = [str(key) for key in listed(statement.get("Resource"))]
        found = sorted({name for action in actions(statement) for name in covers(action, DECRYPTION)})
        if found and ("NotResource" in statement or any(re.fullmatch(r"\*|arn:.*:key/\*", key) for key in keys)):
            yield f"it allows {', '.join(found)} with every key"


def any_namespace(resource: Resource, _: Config) -> Iterator[str]:
    for statement in grants(resource):
        conditions = statement.get("Condition", {})
        named = any("cloudwatch:namespace" in keys for keys in conditions.values())
        if "cloudwatch:PutMetricData" in actions(statement) and not named:
            yield "it allows cloudwatch:PutMetricData in every namespace"


def principals(statement: Statement) -> Iterator[tuple[str, str]]:
    """Kind and name of each."""
    given = statement.get("Principal")
    if isinstance(given, Mapping):
        for kind, names in given.items():
            yield from ((str(kind), str(name)) for name in listed(names))
    elif given is not None:
        yield "AWS", str(given)


def open_to_everybody(resource: Resource, _: Config) -> Iterator[str]:
    """Of a policy on a resource: whom it admits is no question of the caller's own policies."""
    for statement in allowed(document(resource.get("policy"))):
        if not statement.get("Condition") and any(name == "*" for _, name in principals(statement)):
            yield f"it allows {', '.join(map(str, listed(statement.get('Action'))))} to everybody"


def refuses_clear_text(policy: Mapping[str, Any]) -> bool:
    """Whether a policy on a resource denies requests without TLS."""
    return any(
        statement.get("Effect") == "Deny"
        and listed(canonical(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport"))) in TLS_MISSING
        for statement in listed(policy.get("Statement"))
    )


def open_trust(resource: Resource, _: Config) -> Iterator[str]:
    for statement in allowed(document(resource.get("assumeRolePolicy"))):
        for kind, name in principals(statement):
            if kind == "AWS" and name == "*":
                yield "assumeRolePolicy lets everybody take the role"
            elif kind == "AWS" and WHOLE_ACCOUNT.fullmatch(name) and not statement.get("Condition"):
                yield f"assumeRolePolicy lets everything in account {name} take the role, on no condition"


def open_github_trust(resource: Resource, _: Config) -> Iterator[str]:
    for statement in allowed(document(resource.get("assumeRolePolicy"))):
        if not any(kind == "Federated" and GITHUB in name for kind, name in principals(statement)):
            continue
        conditions = [keys for keys in statement.get("Condition", {}).values()]
        subjects = [str(s) for keys in conditions for s in listed(keys.get(f"{GITHUB}:sub"))]
        if not subjects:
            yield f"assumeRolePolicy names no {GITHUB}:sub: every repository on GitHub may take the role"
        for subject in subjects:
            if not re.match(r"repo:[^*?/]+/[^*?:]+:", subject):
                yield f"assumeRolePolicy admits {subject}, which does not name one repository"


def attached(resource: Resource) -> Iterator[str]:
    paths = ("policyArn",) if resource.type == ATTACHMENT else ("managedPolicyArns[]",)
    for path in paths:
        yield from (v for _, v in read(resource.properties, path) if isinstance(v, str))


def administrators(resource: Resource, _: Config) -> Iterator[str]:
    for arn in attached(resource):
        if arn.rpartition("/")[2] in ADMINISTRATORS:
            yield f"it attaches {arn}"


def managed_by_aws(resource: Resource, config: Config) -> Iterator[str]:
    for arn in attached(resource):
        name = arn.rpartition("/")[2]
        if ":aws:policy/" in arn and name not in ADMINISTRATORS and name not in config["policies"]:
            yield f"it attaches {arn}, to which AWS may add rights"


RULES = (
    Rule(
        name="iam-no-whole-services",
        types=GRANTS,
        says="No policy allows everything, or every action of a service.",
        mend="List the actions that are used; NotAction allows whatever AWS adds.",
        ids=("IAM.1", "IAM.21", "CKV_AWS_62", "CKV_AWS_63", "AWS-0345", "AwsSolutions-IAM5"),
        severity="critical",
        find=whole_services,
    ),
    Rule(
        name="iam-no-wildcard-actions",
        types=GRANTS,
        says="A policy lists its actions by name.",
        mend="Replace the pattern by the actions that are used.",
        ids=("AwsSolutions-IAM5",),
        severity="low",
        level="advisory",
        find=wildcards,
    ),
    Rule(
        name="iam-resources-named",
        types=GRANTS,
        says="A policy names the resources that it is about, where the actions know any.",
        mend="Set Resource to ARNs; an action that knows none goes into the option `everywhere`.",
        ids=("CKV_AWS_355", "CKV_AWS_288", "CKV_AWS_290", "AwsSolutions-IAM5"),
        severity="high",
        options={"everywhere": strings([], "Further actions, or patterns of them, that may be allowed on everything")},
        find=nameless_resources,
    ),
    Rule(
        name="iam-no-privilege-escalation",
        types=GRANTS,
        says="No role can give itself further rights.",
        mend="Set Resource to the roles that it is about, and Condition iam:PassedToService for iam:PassRole.",
        ids=("CKV_AWS_286", "CKV_AWS_287", "CKV_AWS_289", "AWS-0342"),
        severity="critical",
        find=escalations,
    ),
    Rule(
        name="iam-keys-named",
        types=GRANTS,
        says="A policy that decrypts names the keys.",
        mend="Set Resource to the ARNs of the keys that are used.",
        ids=("KMS.1", "KMS.2"),
        severity="high",
        find=any_key,
    ),
    Rule(
        name="iam-metrics-of-one-namespace",
        types=GRANTS,
        says="Whoever publishes metrics does so in namespaces that the policy names, and cannot forge others.",
        mend='Add the Condition {"StringEquals": {"cloudwatch:namespace": "…"}}.',
        find=any_namespace,
    ),
    Rule(
        name="iam-trust-named",
        types=(ROLE,),
        says="A role says who may take it.",
        mend="Name a service, or roles by ARN; for another account add a Condition with an external id.",
        ids=("CKV_AWS_60", "CKV_AWS_61"),
        severity="critical",
        find=open_trust,
    ),
    Rule(
        name="iam-github-trust-named",
        types=(ROLE,),
        says="A role for GitHub's workflows admits those of one repository.",
        mend=f"Add a Condition on {GITHUB}:sub that begins with repo:<owner>/<name>:.",
        ids=("CKV_AWS_358", "CKV_AWS_393"),
        severity="critical",
        find=open_github_trust,
    ),
    Rule(
        name="iam-no-administrators",
        types=(ATTACHMENT, ROLE),
        says="No role is an administrator.",
        mend="Attach a policy with the actions that are used.",
        ids=("CKV_AWS_274", "CKV_AWS_275", "CKV2_AWS_56"),
        severity="critical",
        find=administrators,
    ),
    Rule(
        name="iam-no-managed-policies-of-aws",
        types=(ATTACHMENT, ROLE),
        says="What a role may do stands in the program, and does not grow by itself.",
        mend="Write a policy with the actions that are used, or name it in the option `policies`.",
        ids=("AwsSolutions-IAM4",),
        severity="low",
        level="advisory",
        options={"policies": strings([], "Names of AWS's policies that may be attached")},
        find=managed_by_aws,
    ),
)
