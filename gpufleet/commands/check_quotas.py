"""What the account's quotas allow, asked of AWS for `gpufleet check`, where there are credentials.

Owns the question and every reason for which there is no answer; none of them is an error. Leaves what is needed, and
whether it is enough, to the planner's `quota`. boto3 is imported when the first stack asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufleet.commands.check_report import Report
from gpufleet.planner.errors import Problem
from gpufleet.planner.plan import DeploymentPlan, QuotaNeed
from gpufleet.planner.quota import SERVICE, AccountQuota, short_quotas, unknown_quotas

CONNECT_TIMEOUT_S, READ_TIMEOUT_S, ATTEMPTS = 2, 5, 2

OTHER_CREDENTIALS = ("aws:accessKey", "aws:assumeRole", "aws:assumeRoles", "aws:assumeRoleWithWebIdentity")
"""Keys of a stack that lead its program to an account by another way than boto3's."""


def compare_quotas(plan: DeploymentPlan, config: Mapping[str, Any], report: Report) -> None:
    """Add to the report what the account allows of what the plan needs; one line where it cannot be asked."""
    quotas = _quotas(plan, config)
    report.errors += [
        Problem(notice.path, notice.message, next_step=notice.next_step) for notice in short_quotas(plan.region, quotas)
    ]
    report.passed += [
        f"the account allows {vcpu:g} vCPU of {need.quota}"
        for need, vcpu, _ in quotas
        if vcpu is not None and vcpu >= need.vcpu
    ]
    if unknown := unknown_quotas(quotas):
        report.notes.append(unknown)


def _quotas(plan: DeploymentPlan, config: Mapping[str, Any]) -> list[AccountQuota]:
    why = next((f"the stack sets {key}" for key in OTHER_CREDENTIALS if key in config), "")
    client = None
    if not why:
        client, why = _client(plan.region, config.get("aws:profile"))
    return [AccountQuota(need, None, why) if client is None else _asked(client, need) for need in plan.quotas]


def _client(region: str, profile: str | None) -> tuple[Any, str]:
    """A client for Service Quotas; None and why where there can be none."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": ATTEMPTS}
    )
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
        if session.get_credentials() is None:
            return None, "there are no AWS credentials"
        return session.client("service-quotas", config=config), ""
    except BotoCoreError as error:
        return None, _one_line(error)


def _asked(client: Any, need: QuotaNeed) -> AccountQuota:
    from botocore.exceptions import BotoCoreError, ClientError

    if need.code is None:
        return AccountQuota(need, None, "its code is not known")
    key = {"ServiceCode": SERVICE, "QuotaCode": need.code}
    try:
        try:
            answer = client.get_service_quota(**key)
        except client.exceptions.NoSuchResourceException:
            # Of a quota that was never raised, some accounts know the default only.
            answer = client.get_aws_default_service_quota(**key)
    except (BotoCoreError, ClientError) as error:
        return AccountQuota(need, None, _one_line(error))
    return AccountQuota(need, answer["Quota"]["Value"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
