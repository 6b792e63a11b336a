"""Service Quotas of EC2, which moto lacks: every quota allows the same, but for those that a test sets.

Owns the values, by the quota's code and the same in every region: `POST /_gpufleet/quotas` takes `{code: vCPUs}`,
`DELETE` takes them back. Leaves other services' quotas to moto.
"""

from __future__ import annotations

import json
from typing import Any

from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

DEFAULT_VCPU = 10_000.0
"""More than a stack takes that anybody tries here; a new account of AWS's has none for GPUs."""

QUOTAS: dict[str, float] = {}
"""Those that were set, by code."""


def set_quotas(document: Any) -> None:
    """From a request body; raises ValueError where it is no mapping of codes to numbers."""
    if not isinstance(document, dict) or not all(isinstance(vcpu, int | float) for vcpu in document.values()):
        raise ValueError('quotas are set as {"L-DB2E81BA": 8}')
    QUOTAS.update({code: float(vcpu) for code, vcpu in document.items()})


def _quota(code: str, value: float) -> dict[str, Any]:
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:::ec2/{code}",
        "QuotaCode": code,
        "QuotaName": code,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


_get_service_quota = ServiceQuotasBackend.get_service_quota


def _with_ec2(self: ServiceQuotasBackend, service_code: str, quota_code: str) -> dict[str, Any]:
    if service_code == "ec2":
        return _quota(quota_code, QUOTAS.get(quota_code, DEFAULT_VCPU))
    return _get_service_quota(self, service_code, quota_code)


def _get_aws_default_service_quota(self: ServiceQuotasResponse) -> str:
    parameters = json.loads(self.body)
    if parameters["ServiceCode"] != "ec2":
        raise NoSuchResource
    return json.dumps({"Quota": _quota(parameters["QuotaCode"], DEFAULT_VCPU)})


def install() -> None:
    """Make moto's Service Quotas answer for EC2."""
    ServiceQuotasBackend.get_service_quota = _with_ec2  # type: ignore[method-assign]
    ServiceQuotasResponse.get_aws_default_service_quota = _get_aws_default_service_quota  # type: ignore[attr-defined]
