"""The bucket of the load balancer's access logs: a line for each request, kept for a year.

Owns who may write and how long a log stays. Leaves turning the logs on to `load_balancer`. The bucket is never deleted with
what is in it, unless the plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.access import Statement, partition, policy_document
from components.logs import RETENTION_DAYS
from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan

PREFIX = "gpufleet-access-logs-"
"""Buckets share one namespace among all accounts: the provider adds 26 characters, the deploy role knows it by this."""

LOG_DELIVERY = "logdelivery.elasticloadbalancing.amazonaws.com"
"""In every region since September 2025 (Elastic Load Balancing, document history); before, old regions had an account."""

NONCURRENT_DAYS = 30
UNFINISHED_UPLOAD_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBucketArgs:
    """The plan, and the account whose load balancers may write."""

    plan: DeploymentPlan
    account_id: pulumi.Input[str]
    tags: Tags


class LogBucket(pulumi.ComponentResource):
    """A private, versioned bucket, encrypted with S3's own keys: Elastic Load Balancing writes with no other."""

    bucket_name: pulumi.Output[str]
    """Known once the policy stands: AWS refuses to log into a bucket before."""

    def __init__(self, name: str, args: LogBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:log_bucket:LogBucket", name, None, opts)
        child, plan = pulumi.ResourceOptions(parent=self), args.plan
        logical_name = f"{name}-access-logs"
        bucket = aws.s3.Bucket(
            logical_name,
            bucket_prefix=PREFIX,
            force_destroy=plan.network.delete_access_logs,
            tags=args.tags.named("access-logs"),
            opts=pulumi.ResourceOptions(parent=self, protect=plan.protects),
        )
        closed = aws.s3.BucketPublicAccessBlock(
            logical_name,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            logical_name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=child
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            logical_name,
            bucket=bucket.id,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        versions = aws.s3.BucketVersioning(
            logical_name, bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=child
        )
        aws.s3.BucketLifecycleConfiguration(
            logical_name,
            bucket=bucket.id,
            rules=[
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": RETENTION_DAYS},
                    "noncurrent_version_expiration": {"noncurrent_days": NONCURRENT_DAYS},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": UNFINISHED_UPLOAD_DAYS},
                }
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versions]),
        )
        policy = aws.s3.BucketPolicy(
            logical_name,
            bucket=bucket.id,
            policy=pulumi.Output.all(bucket.arn, args.account_id).apply(
                lambda known: policy_document(statements(plan.region, bucket_arn=known[0], account_id=known[1]))
            ),
            # S3 takes one change of a bucket's access at a time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[closed]),
        )
        self.bucket_name = policy.bucket
        self.register_outputs({"bucketName": self.bucket_name})


def statements(region: str, *, bucket_arn: str, account_id: str) -> list[Statement]:
    """The account's own load balancers may write, and nobody may come without TLS."""
    balancers = f"arn:{partition(region)}:elasticloadbalancing:{region}:{account_id}:loadbalancer/*"
    return [
        {
            "Effect": "Allow",
            "Principal": {"Service": LOG_DELIVERY},
            "Action": "s3:PutObject",
            "Resource": f"{bucket_arn}/AWSLogs/{account_id}/*",
            "Condition": {"ArnLike": {"aws:SourceArn": balancers}},
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
