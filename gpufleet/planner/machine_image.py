"""Which AMI the instances boot.

Owns the default SSM parameter by CPU architecture, and what may stand in a parameter. Leaves reading it to the program, which
does that with the facts, and to `gpufleet ami`.
"""

from __future__ import annotations

import re

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.facts import AccountFacts
from gpufleet.planner.plan import MachineImage
from gpufleet.planner.requirements import Requirements

DEFAULT_PARAMETER = (
    "/aws/service/deeplearning/ami/{architecture}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
)
"""AWS's Deep Learning Base AMI: NVIDIA driver, Docker and the NVIDIA container toolkit on Amazon Linux 2023."""

AMI_ID = re.compile(r"ami-[0-9a-f]{8,17}")

PLACEHOLDER_AMI = "ami-00000000000000000"
"""Stands for the AMI behind `latest` where no account is asked."""


def ami_parameter(requirements: Requirements) -> str | None:
    """The SSM parameter that `latest` and `launch` read; None when the stack pins an id."""
    return parameter_of(requirements) if requirements.instance.ami in ("latest", "launch") else None


def parameter_of(requirements: Requirements) -> str:
    """The SSM parameter that holds the newest AMI of the stack's kind, whether it reads it or not."""
    instance = requirements.instance
    return instance.ami_parameter or DEFAULT_PARAMETER.format(architecture=instance.architecture)


def checked_ami_id(parameter: str, value: str | None) -> str:
    """The AMI id that the SSM parameter holds; a RequirementError where it holds something else."""
    if value is not None and AMI_ID.fullmatch(value):
        return value
    raise RequirementError(
        Problem(
            path="instance.amiParameter",
            message=f"{parameter} does not hold an AMI id",
            given=value or "no plain value",
            allowed="an SSM parameter of type String that holds an id such as ami-0123456789abcdef0",
            next_step="name another parameter, or pin an AMI with instance.ami",
        )
    )


def plan_machine_image(requirements: Requirements, facts: AccountFacts | None) -> MachineImage:
    """The pinned id, or the one that the account resolved."""
    parameter = ami_parameter(requirements)
    if parameter is None:
        return MachineImage(id=requirements.instance.ami, parameter=None, at_launch=False)
    at_launch = requirements.instance.ami == "launch"
    return MachineImage(id=facts.ami_id if facts and not at_launch else None, parameter=parameter, at_launch=at_launch)
