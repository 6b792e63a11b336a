"""A stack file that names a VPC, subnets and a certificate of the user's account comes up in the emulator too."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gpufleet.commands.local import destroy, up
from gpufleet.commands.local_emulator import Local, health
from tests.emulator.running import PROJECT, free_port

STACK = "existing-us-east-1"
CONFIG = {
    "aws:region": "us-east-1",
    "aws:profile": "somebody",
    "gpufleet:model": {"id": "Qwen/Qwen3-8B", "parameters": "8.19B"},
    "gpufleet:scaling": {"min": 1, "max": 2},
    "gpufleet:instance": {"amiParameter": "/images/gpu"},
    "gpufleet:network": {
        "vpcId": "vpc-0123456789abcdef0",
        "subnetIds": ["subnet-0000000000000000a", "subnet-0000000000000000b"],
        "loadBalancerSubnetIds": ["subnet-0000000000000000c", "subnet-0000000000000000d"],
        "internal": False,
        "allowedCidrs": ["203.0.113.0/24"],
        "certificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012",
    },
}


@pytest.mark.usefixtures("pulumi")
def test_a_stack_in_the_users_network_comes_up_locally(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / f"Pulumi.{STACK}.yaml"
    source.write_text(yaml.safe_dump({"config": CONFIG, "encryptionsalt": "v1:of:another:backend"}))
    content = source.read_bytes()
    local = Local(project=PROJECT, directory=tmp_path / "local", port=free_port())
    try:
        assert up(local, source) == 0, capfd.readouterr().out
        capfd.readouterr()
        assert up(local, source) == 0
        assert " created" not in capfd.readouterr().out
        assert local.stacks() == [STACK]
    finally:
        assert destroy(local, STACK) == 0
    assert health(local) is None
    assert source.read_bytes() == content
