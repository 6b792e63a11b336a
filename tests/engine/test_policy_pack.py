"""The policy pack on the real engine: it finds nothing in the shipped stacks, and stops a program that breaks it."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from aws_rules import RULES
from stacks.config import stack_names
from tests.emulator.running import PROJECT, Emulator
from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment

Preview = Callable[..., str]

BREAKING_PROGRAM = """
import pulumi_aws as aws

vpc = aws.ec2.Vpc("bare", cidr_block="10.0.0.0/16", enable_dns_hostnames=True)
everybody = aws.ec2.SecurityGroup(
    "everybody",
    description="Everybody",
    vpc_id=vpc.id,
    ingress=[
        {"protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["0.0.0.0/0"], "description": "SSH"},
        {"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["0.0.0.0/0"], "description": "HTTPS"},
    ],
)
aws.lb.LoadBalancer(
    "web",
    subnets=["subnet-0000000000000000a", "subnet-0000000000000000b"],
    security_groups=[everybody.id],
    drop_invalid_header_fields=True,
)
aws.cloudwatch.LogGroup("short", retention_in_days=7)
"""

EXPECTED = {
    "security-group-no-open-ports": (
        "everybody (aws:ec2/securityGroup:SecurityGroup): ingress[0]: it lets in 0.0.0.0/0 on port 22."
        " Name the networks of the clients, or the security group that may come in;"
    ),
    "load-balancer-internal-or-encrypted": (
        "web (aws:lb/loadBalancer:LoadBalancer): it faces the internet and has no HTTPS listener."
        " Set internal to True, or add an HTTPS listener with a certificate of ACM;"
    ),
    "load-balancer-web-acl": "web (aws:lb/loadBalancer:LoadBalancer): it faces the internet and has no web ACL.",
    "vpc-default-security-group-closed": "bare (aws:ec2/vpc:Vpc): its default security group keeps AWS's rules",
    "vpc-endpoints": "bare (aws:ec2/vpc:Vpc): it has no endpoint for s3.",
    "log-group-retention": (
        "short (aws:cloudwatch/logGroup:LogGroup): retentionInDays is 7, must be at least 365."
        " Set retention_in_days, or lower the option `days`."
    ),
}
"""What the pack says of it, by rule. Nothing else breaks one: not the port that the option allows."""


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The pack with its environment, which one process at a time may make."""
    with (tmp_path_factory.getbasetemp().parent / "policies.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["make", "policies", f"PYTHON={sys.executable}"], cwd=PROJECT, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(PROJECT / "policies")


@pytest.fixture
def broken(pulumi: str, emulator: Emulator, tmp_path: Path, pack: str) -> Preview:
    """Previews the program that breaks rules, in a project that is not gpufleet's; what Pulumi says."""
    (tmp_path / "state").mkdir()
    (tmp_path / "__main__.py").write_text(BREAKING_PROGRAM)
    runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
    (tmp_path / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "broken", "runtime": runtime}))
    (tmp_path / "Pulumi.test.yaml").write_text(yaml.safe_dump({"config": {"aws:region": "us-east-1"}}))
    stack = Deployment(pulumi, "test", tmp_path, emulator, backend=(tmp_path / "state").as_uri())
    stack.command(tmp_path, "stack", "init", "test")

    def preview(config: dict[str, object] | None = None) -> str:
        arguments = []
        if config is not None:
            (tmp_path / "policies.json").write_text(json.dumps(config))
            arguments = ["--policy-pack-config", str(tmp_path / "policies.json")]
        try:
            return stack.command(tmp_path, "preview", "--stack", "test", "--policy-pack", pack, *arguments)
        except AssertionError as refusal:
            return str(refusal)

    return preview


def rules_in(shown: str) -> set[str]:
    """The rules that a preview speaks of; it must have asked the pack."""
    assert "aws-inference-fleet@v" in shown, shown
    return {rule.name for rule in RULES if f" {rule.name} " in shown}


@pytest.mark.parametrize("name", stack_names())
def test_the_pack_finds_nothing_in_a_shipped_stack(name: str, deploy: Deploy, pack: str) -> None:
    shown = deploy(name).run("preview", "--policy-pack", pack)
    assert not rules_in(shown), shown


def test_the_pack_finds_nothing_in_what_an_update_has_made(deploy: Deploy, pack: str) -> None:
    """All values are known then, and what the provider adds is there."""
    stack = deploy("dev-us-east-1")
    shown = stack.run("up", "--policy-pack", pack)
    assert not rules_in(shown), shown
    stack.run("destroy")


def test_a_program_that_breaks_rules_is_refused_with_what_to_do(broken: Preview) -> None:
    shown = " ".join(broken().split())
    assert shown.startswith("pulumi preview"), "Pulumi did not refuse it"
    assert rules_in(shown) == set(EXPECTED)
    for text in EXPECTED.values():
        assert text in shown, shown


def test_rules_are_configured_and_switched_off_by_pulumis_own_file(broken: Preview) -> None:
    off = {name: "disabled" for name in EXPECTED if name not in ("log-group-retention", "load-balancer-web-acl")}
    shown = broken({**off, "log-group-retention": {"days": 7}, "log-group-key": "mandatory"})
    assert rules_in(shown) == {"load-balancer-web-acl", "log-group-key"}
    assert shown.startswith("pulumi preview"), "Pulumi did not refuse it"
    assert not broken({**off, "log-group-retention": {"days": 7}}).startswith("pulumi preview"), "advice is no refusal"
