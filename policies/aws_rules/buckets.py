"""Rules for S3 buckets, such as the one of a load balancer's access logs, and for keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aws_rules.iam import open_to_everybody, refuses_clear_text
from aws_rules.rule import (
    UNKNOWN,
    Config,
    FindInStack,
    Resource,
    Rule,
    Stack,
    StackRule,
    document,
    expect,
    is_one_of,
    shown,
    where,
)

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
ACLS = ("aws:s3/bucketAcl:BucketAcl", "aws:s3/bucketAclV2:BucketAclV2")
LIFECYCLE = (
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
)
VERSIONING = ("aws:s3/bucketVersioning:BucketVersioning", "aws:s3/bucketVersioningV2:BucketVersioningV2")
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)
LOGGING = ("aws:s3/bucketLogging:BucketLogging", "aws:s3/bucketLoggingV2:BucketLoggingV2")
KEY = "aws:kms/key:Key"

BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def beside(bucket: Resource, stack: Stack, types: Sequence[str]) -> list[Resource]:
    return [found for type_ in types for found in stack.users(bucket, type_, "bucket")]


def lacks(types: Sequence[str], what: str) -> FindInStack:
    """A bucket that none of these is about."""

    def find(bucket: Resource, stack: Stack, _: Config) -> Iterator[str]:
        if not beside(bucket, stack, types):
            yield f"it has no {what}"

    return find


def accepts_clear_text(bucket: Resource, stack: Stack, _: Config) -> Iterator[str]:
    policies = [policy.get("policy") for policy in beside(bucket, stack, [BUCKET_POLICY])]
    if not any(policy is UNKNOWN or refuses_clear_text(document(policy)) for policy in policies):
        yield "its policy does not refuse requests without TLS"


def endless(resource: Resource, _: Config) -> Iterator[str]:
    rules = resource.items("rules")
    if UNKNOWN in rules or resource.get("rules") is UNKNOWN:
        return
    active = [rule for rule in rules if rule.get("status") in ("Enabled", UNKNOWN)]
    if not any(rule.get("expiration") for rule in active):
        yield "no rule that is enabled expires objects"
    if not any(rule.get("abortIncompleteMultipartUpload") for rule in active):
        yield "no rule that is enabled ends uploads that were never completed"


def granted_acl(resource: Resource, _: Config) -> Iterator[str]:
    if resource.get("acl") not in (None, UNKNOWN, "private"):
        yield f"acl is {shown(resource.get('acl'))}"


RULES: tuple[Rule | StackRule, ...] = (
    StackRule(
        name="bucket-public-access-blocked",
        types=BUCKETS,
        says="No policy and no ACL can make a bucket public.",
        mend="Add an aws.s3.BucketPublicAccessBlock for it, with all four settings True.",
        ids=("S3.8", "CKV2_AWS_6"),
        severity="high",
        find=lacks([ACCESS_BLOCK], "public access block"),
    ),
    Rule(
        name="bucket-public-access-block-complete",
        types=(ACCESS_BLOCK,),
        says="A public access block blocks all four ways.",
        mend="Set block_public_acls, block_public_policy, ignore_public_acls and restrict_public_buckets to True.",
        ids=("S3.8", "CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56"),
        severity="high",
        find=expect(*((name, is_one_of(True)) for name in BLOCKS)),
    ),
    StackRule(
        name="bucket-tls-only",
        types=BUCKETS,
        says="A bucket refuses requests without TLS.",
        mend="Add to its policy a statement that denies s3:* to everybody where aws:SecureTransport is false.",
        ids=("S3.5", "AwsSolutions-S10"),
        find=accepts_clear_text,
    ),
    Rule(
        name="bucket-policy-not-public",
        types=(BUCKET_POLICY,),
        says="A bucket's policy names whom it admits.",
        mend="Name the principals, or add a Condition that does.",
        ids=("CKV_AWS_70",),
        severity="critical",
        find=open_to_everybody,
    ),
    StackRule(
        name="bucket-lifecycle",
        types=BUCKETS,
        says="What lies in a bucket goes when nobody needs it any more.",
        mend="Add an aws.s3.BucketLifecycleConfiguration that expires objects and incomplete uploads.",
        ids=("S3.13", "CKV2_AWS_61"),
        severity="low",
        find=lacks(LIFECYCLE, "lifecycle configuration"),
    ),
    Rule(
        name="bucket-lifecycle-ends",
        types=LIFECYCLE,
        says="A lifecycle configuration expires objects and incomplete uploads.",
        mend="Add expiration and abort_incomplete_multipart_upload to a rule whose status is Enabled.",
        ids=("S3.13", "CKV_AWS_300"),
        severity="low",
        find=endless,
    ),
    Rule(
        name="bucket-acls-disabled",
        types=(OWNERSHIP,),
        says="A bucket's owner owns every object, and ACLs count for nothing; S3's default since April 2023.",
        mend='Set rule.object_ownership to "BucketOwnerEnforced".',
        ids=("S3.12", "CKV2_AWS_65"),
        find=expect(("rule.objectOwnership", is_one_of("BucketOwnerEnforced"))),
    ),
    Rule(
        name="bucket-no-acl",
        types=(*ACLS, *BUCKETS),
        says="Nobody gets into a bucket by an ACL.",
        mend="Remove the ACL, and name in the bucket's policy who may do what.",
        ids=("S3.12", "CKV2_AWS_65"),
        find=granted_acl,
    ),
    StackRule(
        name="bucket-versioned",
        types=BUCKETS,
        says="What is overwritten or deleted in a bucket can be had back.",
        mend='Add an aws.s3.BucketVersioning with status "Enabled", and expire old versions by the lifecycle.',
        ids=("S3.14", "CKV_AWS_21"),
        severity="low",
        find=lacks(VERSIONING, "versioning"),
    ),
    Rule(
        name="bucket-versioning-enabled",
        types=VERSIONING,
        says="A bucket's versioning is on.",
        mend='Set versioning_configuration.status to "Enabled".',
        ids=("S3.14", "CKV_AWS_21"),
        severity="low",
        find=expect(("versioningConfiguration.status", is_one_of("Enabled"))),
    ),
    StackRule(
        name="bucket-encryption-configured",
        types=BUCKETS,
        says="A bucket says how it encrypts.",
        mend="Add an aws.s3.BucketServerSideEncryptionConfiguration; for access logs of load balancers with AES256, the"
        " only one that they can be written with.",
        ids=("S3.17", "CKV_AWS_19", "CKV_AWS_145"),
        severity="low",
        find=lacks(ENCRYPTION, "encryption configuration"),
    ),
    Rule(
        name="bucket-encryption-known",
        types=ENCRYPTION,
        says="A bucket encrypts with S3's own keys or with one of KMS.",
        mend='Set sse_algorithm to "AES256" or "aws:kms".',
        ids=("S3.17", "CKV_AWS_19"),
        severity="low",
        find=expect(
            ("rules[].applyServerSideEncryptionByDefault.sseAlgorithm", is_one_of("AES256", "aws:kms", "aws:kms:dsse"))
        ),
    ),
    StackRule(
        name="bucket-access-logged",
        types=BUCKETS,
        says="A bucket keeps a record of who reads it.",
        mend="Add an aws.s3.BucketLogging with a bucket for logs.",
        ids=("S3.9", "CKV_AWS_18"),
        severity="low",
        level="disabled",
        reason="A bucket of logs is exempt, since its record would need a record; there is no other.",
        find=lacks(LOGGING, "access log"),
    ),
    Rule(
        name="key-rotates",
        types=(KEY,),
        says="A key gets new material every year.",
        mend="Set enable_key_rotation to True.",
        ids=("KMS.4", "CKV_AWS_7", "AWS-0065", "AwsSolutions-KMS5"),
        find=where(
            lambda key: key.get("customerMasterKeySpec") in (None, "SYMMETRIC_DEFAULT"),
            expect(("enableKeyRotation", is_one_of(True))),
        ),
    ),
    Rule(
        name="key-policy-not-public",
        types=(KEY,),
        says="A key's policy names who may use it.",
        mend="Name the account, roles or services, or add a Condition.",
        ids=("KMS.5", "CKV_AWS_33"),
        severity="critical",
        find=open_to_everybody,
    ),
)
