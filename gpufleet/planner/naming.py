"""Names that must be known before anything is created, so that rendered files show in a preview as they will be."""

from __future__ import annotations


def log_group_name(stack: str) -> str:
    """The CloudWatch log group of a stack's fleet."""
    return f"/gpufleet/{stack}"


def flow_log_group_name(stack: str) -> str:
    """The log group of the flow logs of a stack's own VPC."""
    return f"{log_group_name(stack)}/flow"


GROUP_DIMENSION = "AutoScalingGroupName"
"""CloudWatch dimension of everything that instances publish of themselves."""
