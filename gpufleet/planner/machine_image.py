"""Which AMI the instances boot.

Owns the default SSM parameter by CPU architecture. Leaves resolving it to the program, which reads it with the facts.
"""

from __future__ import annotations

from gpufleet.planner.facts import AccountFacts
from gpufleet.planner.plan import MachineImage
from gpufleet.planner.requirements import Requirements

DEFAULT_PARAMETER = (
    "/aws/service/deeplearning/ami/{architecture}/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
)
"""AWS's Deep Learning Base AMI: NVIDIA driver, Docker and the NVIDIA container toolkit on Amazon Linux 2023."""


PLACEHOLDER_AMI = "ami-00000000000000000"
"""Stands for the AMI behind `latest` where no account is asked."""


def ami_parameter(requirements: Requirements) -> str | None:
    """The SSM parameter that `latest` and `launch` read; None when the stack pins an id."""
    return parameter_of(requirements) if requirements.instance.ami in ("latest", "launch") else None


def parameter_of(requirements: Requirements) -> str:
    """The SSM parameter that holds the newest AMI of the stack's kind, whether it reads it or not."""
    instance = requirements.instance
    return instance.ami_parameter or DEFAULT_PARAMETER.format(architecture=instance.architecture)


def plan_machine_image(requirements: Requirements, facts: AccountFacts | None) -> MachineImage:
    """The pinned id, or the one that the account resolved."""
    parameter = ami_parameter(requirements)
    if parameter is None:
        return MachineImage(id=requirements.instance.ami, parameter=None, at_launch=False)
    at_launch = requirements.instance.ami == "launch"
    return MachineImage(id=facts.ami_id if facts and not at_launch else None, parameter=parameter, at_launch=at_launch)
