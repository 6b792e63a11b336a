"""Creations that AWS takes as one when they come twice, and moto as two.

Owns EC2's client tokens (EC2 API Reference, "Ensuring idempotency") and the load balancer API, whose creations complete at
most once when all settings are the same (its reference: CreateLoadBalancer, CreateTargetGroup, CreateListener).
"""

from __future__ import annotations

from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import BaseResponse

from gpufleet.emulator.faults import parameters_of

BY_SETTINGS = frozenset({"CreateLoadBalancer", "CreateTargetGroup", "CreateListener"})

Call = tuple[str, str, str]


def _same_call(response: BaseResponse) -> Call | None:
    """What makes this call the same as another; None where AWS would do it twice."""
    action = response._get_action() or ""
    if response.boto3_service_name == "ec2" and (token := response._get_param("ClientToken")):
        return response.region, action, str(token)
    if response.boto3_service_name == "elbv2" and action in BY_SETTINGS:
        return response.region, action, parameters_of(response)
    return None


def install() -> None:
    """Answer a repeated creation as the first time. To be installed before the faults, which strike its answers too."""
    call_action = BaseResponse.call_action
    answers: dict[Call, TYPE_RESPONSE] = {}

    def call_once(self: BaseResponse) -> TYPE_RESPONSE:
        if self.boto3_service_name == "elbv2" and (self._get_action() or "").startswith("Delete"):
            for made in [made for made in answers if made[1] in BY_SETTINGS]:
                del answers[made]
        call = _same_call(self)
        if call is None:
            return call_action(self)
        if call not in answers:
            answer = call_action(self)
            if answer[0] >= 400:
                return answer
            answers[call] = answer
        return answers[call]

    BaseResponse.call_action = call_once  # type: ignore[method-assign]
