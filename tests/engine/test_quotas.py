"""The account's quotas, as `pulumi preview` and `up` compare them: never in the way of an update."""

from __future__ import annotations

from tests.engine.conftest import Deploy

STACK = "dev-us-east-1"
G_ON_DEMAND = "L-DB2E81BA"


def test_a_small_quota_is_a_warning_and_a_missing_answer_one_line(deploy: Deploy) -> None:
    stack = deploy(STACK)
    control = stack.emulator.control
    assert "vCPU" not in stack.run("preview")
    try:
        control("POST", "quotas", {G_ON_DEMAND: 8})
        warned = stack.run("preview")
        assert "warning: the account allows 8 vCPU in us-east-1 of Running On-Demand G and VT instances" in warned
        assert "Service Quotas, or" in warned
        control("DELETE", "quotas")
        denied = {"service": "service-quotas", "action": "*", "code": "AccessDeniedException", "times": 100}
        control("POST", "faults", denied)
        output = stack.run("preview")
    finally:
        control("DELETE", "quotas")
        control("DELETE", "faults")
    _, _, output = output.partition("Diagnostics:")
    (line,) = [line for line in output.splitlines() if "quotas not compared" in line]
    assert G_ON_DEMAND in line
    assert "AccessDenied" in line
