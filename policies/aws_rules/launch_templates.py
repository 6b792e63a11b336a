"""Rules for launch templates: how an instance starts."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
from collections.abc import Iterator, Mapping

from aws_rules.rule import (
    UNKNOWN,
    Config,
    Resource,
    Rule,
    at_most,
    expect,
    integer,
    is_one_of,
    is_set,
    is_unset,
    shown,
    unset_or,
    where,
)

TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"

SECRETS: Mapping[str, re.Pattern[str]] = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an AWS secret key": re.compile(r"(?i)aws_secret_access_key\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}"),
    "a private key": re.compile(r"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})"),
    "a password": re.compile(r"(?i)\b(password|passwd|secret_key|api_key|auth_token)\s*[=:]\s*[\"']?[^\s\"'$<{(]{8,}"),
}
"""What gives a secret away, by what a message calls it. The message never shows it."""

EFA_INTERFACES = ("efa", "efa-only")


def user_data(resource: Resource) -> str:
    """What an instance gets, decoded; empty where that is not known or no text."""
    given = resource.get("userData")
    if not isinstance(given, str):
        return ""
    try:
        raw = base64.b64decode(given, validate=True)
        return (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode(errors="replace")
    except (binascii.Error, OSError, EOFError):
        return given


def secrets_in_user_data(resource: Resource, _: Config) -> Iterator[str]:
    for number, line in enumerate(user_data(resource).splitlines(), start=1):
        for what, pattern in SECRETS.items():
            if pattern.search(line):
                yield f"line {number} of userData holds {what}"


def public_addresses(resource: Resource, config: Config) -> Iterator[str]:
    if resource.get("networkInterfaces") in (None, []):
        yield "networkInterfaces is not set, so the subnet decides whether instances get a public address"
    yield from expect(("networkInterfaces[].associatePublicIpAddress", is_one_of(False)))(resource, config)


def unencrypted_volumes(resource: Resource, config: Config) -> Iterator[str]:
    if resource.get("blockDeviceMappings") in (None, []):
        yield "blockDeviceMappings is not set, so the account decides whether the image's volumes are encrypted"
    yield from expect(("blockDeviceMappings[].ebs.encrypted", is_one_of(True)))(resource, config)


def interfaces(resource: Resource, config: Config) -> Iterator[str]:
    ordinary = [
        each
        for each in resource.items("networkInterfaces")
        if each is not UNKNOWN and each.get("interfaceType") not in (*EFA_INTERFACES, UNKNOWN)
    ]
    if len(ordinary) > config["maximum"]:
        yield f"networkInterfaces has {len(ordinary)} that are no EFA interfaces, at most {shown(config['maximum'])} may be"


def image(resource: Resource, _: Config) -> Iterator[str]:
    given = resource.get("imageId")
    if given is not UNKNOWN and not re.match(r"ami-|resolve:ssm:", given or ""):
        yield f"imageId is {shown(given)}, must be an AMI id or resolve:ssm: and a parameter"


def profile(resource: Resource, _: Config) -> Iterator[str]:
    given = resource.get("iamInstanceProfile")
    if given is not UNKNOWN and not any((given or {}).get(key) for key in ("name", "arn")):
        yield "iamInstanceProfile is not set, so instances have no role"


RULES = (
    Rule(
        name="launch-template-imdsv2",
        types=(TEMPLATE,),
        says="Instances answer only IMDSv2 requests for their metadata and credentials.",
        mend='Set metadata_options to {"http_endpoint": "enabled", "http_tokens": "required"}.',
        ids=("EC2.170", "CKV_AWS_79", "AWS-0130", "CT.EC2.PR.1", "prowler:ec2_launch_template_imdsv2_required"),
        severity="high",
        find=where(
            lambda template: template.get("metadataOptions.httpEndpoint") != "disabled",
            expect(("metadataOptions.httpTokens", is_one_of("required"))),
        ),
    ),
    Rule(
        name="launch-template-metadata-hop-limit",
        types=(TEMPLATE,),
        says="Answers of the metadata service do not leave the instance: containers cannot take its credentials.",
        mend="Set metadata_options.http_put_response_hop_limit to 1 and fetch on the host what containers need;"
        " where a container must ask for itself, use host networking or raise the option `maximum`.",
        ids=("CKV_AWS_341", "CT.EC2.PR.2"),
        severity="high",
        options={"maximum": integer(1, "Most hops that an answer may make", minimum=1)},
        find=expect(("metadataOptions.httpPutResponseHopLimit", at_most("maximum"))),
    ),
    Rule(
        name="launch-template-no-public-address",
        types=(TEMPLATE,),
        says="Instances have no public address.",
        mend='Set associate_public_ip_address to "false" on every network interface and use private subnets.',
        ids=("EC2.25", "CKV_AWS_88", "AWS-0009"),
        severity="high",
        find=public_addresses,
    ),
    Rule(
        name="launch-template-encrypted-volumes",
        types=(TEMPLATE,),
        says="Volumes of instances are encrypted.",
        mend='Set ebs.encrypted to "true" in every block device mapping.',
        ids=("EC2.181", "AWS-0008", "AWS-0131", "AwsSolutions-EC26"),
        severity="high",
        find=unencrypted_volumes,
    ),
    Rule(
        name="launch-template-volume-key",
        types=(TEMPLATE,),
        says="Volumes of instances are encrypted with a key of the customer.",
        mend="Set ebs.kms_key_id to the key's ARN, and let the key's policy admit Auto Scaling's service-linked role.",
        severity="low",
        level="disabled",
        reason="Volumes hold public weights and logs; AWS's own key encrypts them, and a key of one's own needs grants"
        " for Auto Scaling's service-linked role, without which no instance starts.",
        find=expect(("blockDeviceMappings[].ebs.kmsKeyId", is_set)),
    ),
    Rule(
        name="launch-template-no-secrets",
        types=(TEMPLATE,),
        says="User data holds no secrets: whoever may describe the template or log in to an instance can read it.",
        mend="Put the secret into Secrets Manager or an SSM SecureString, name its ARN, read it at boot, and"
        " revoke the one that was written here.",
        ids=("CKV_AWS_46", "AWS-0129", "prowler:ec2_launch_template_no_secrets"),
        severity="critical",
        find=secrets_in_user_data,
    ),
    Rule(
        name="launch-template-detailed-monitoring",
        types=(TEMPLATE,),
        says="EC2 reports metrics every minute, as scaling needs them.",
        mend='Set monitoring to {"enabled": True}.',
        ids=("CKV_AWS_126", "AwsSolutions-EC28"),
        severity="low",
        find=expect(("monitoring.enabled", is_one_of(True))),
    ),
    Rule(
        name="launch-template-ebs-optimized",
        types=(TEMPLATE,),
        says="Reading volumes does not compete with other network traffic.",
        mend='Set ebs_optimized to "true".',
        ids=("CKV_AWS_135",),
        severity="low",
        find=expect(("ebsOptimized", is_one_of(True))),
    ),
    Rule(
        name="launch-template-image",
        types=(TEMPLATE,),
        says="The image is an id or a parameter that its owner keeps, not whatever has the right name.",
        mend="Set image_id to an id, or to resolve:ssm: and one of AWS's public parameters; a look-up by name needs"
        " its owners.",
        ids=("CKV_AWS_386", "AWS-0344"),
        find=image,
    ),
    Rule(
        name="launch-template-one-interface",
        types=(TEMPLATE,),
        says="An instance is in one network.",
        mend="Leave one network interface; EFA interfaces do not count, and the option `maximum` allows more.",
        ids=("EC2.17",),
        severity="low",
        options={"maximum": integer(1, "Most network interfaces that are not EFA", minimum=1)},
        find=interfaces,
    ),
    Rule(
        name="launch-template-no-key-pair",
        types=(TEMPLATE,),
        says="Nobody logs in by SSH: sessions go through Session Manager, which asks IAM and keeps a record.",
        mend="Remove key_name and use `aws ssm start-session`.",
        ids=("SSM.1", "prowler:ec2_instance_managed_by_ssm"),
        find=expect(("keyName", is_unset)),
    ),
    Rule(
        name="launch-template-role",
        types=(TEMPLATE,),
        says="Instances have a role, so that they need no stored keys and Session Manager reaches them.",
        mend="Set iam_instance_profile to the profile of a role with exactly the actions used.",
        ids=("SSM.1",),
        find=profile,
    ),
    Rule(
        name="launch-template-volumes-go-with-instance",
        types=(TEMPLATE,),
        says="No volume is left, or paid for, after its instance.",
        mend='Set ebs.delete_on_termination to "true", or leave it out.',
        severity="low",
        find=expect(("blockDeviceMappings[].ebs.deleteOnTermination", unset_or(True))),
    ),
)
