"""A mistake ends in one message that names the file, the key, what was given and what is allowed; nothing is made."""

from __future__ import annotations

import random
import re

import pulumi
import pytest
from pulumi.runtime.mocks import MockMonitor

from gpufleet import offline
from gpufleet.offline import run_program
from tests.program.conftest import MODEL, config

SCALING = {"min": 1, "max": 3}


def message(configuration, stack="test-us-east-1"):
    with pytest.raises(pulumi.RunError) as caught:
        run_program(stack, configuration)
    text = str(caught.value)
    assert text.splitlines()[0] == f"stacks/Pulumi.{stack}.yaml:"
    assert "Traceback" not in text
    return text


def test_no_configuration():
    text = message({"aws:region": "us-east-1"})
    assert "no gpufleet configuration" in text
    assert re.search(r"allowed: .*gpufleet:model", text)
    assert "stacks/Pulumi.dev-us-east-1.yaml" in text


def test_region_other_than_in_the_file_name():
    text = message(config("eu-west-1"))
    assert "aws:region" in text
    assert "given:   eu-west-1" in text
    assert "allowed: us-east-1" in text


def test_secure_value():
    text = message({**config(), "gpufleet:serving": {"environment": {"A": {"secure": "AAAB"}}}})
    assert "gpufleet:serving: holds a secure value" in text
    assert "AAAB" not in text


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"scaling": {**SCALING, "maximum": 3}},
            ["scaling.maximum: unknown key", "given:   maximum", "did you mean max?"],
        ),
        (
            {"instance": {"type": "g6.3xlarge"}},
            ["instance.type", "given:   g6.3xlarge", "g6.2xlarge"],
        ),
        (
            {"scaling": {**SCALING, "gpuUtilization": 0.7}},
            ["scaling.gpuUtilization: not a valid value", "given:   0.7", "allowed:"],
        ),
        (
            {"model": {**MODEL, "precision": "fp12"}},
            ["model.precision: not a valid value", "given:   fp12", "allowed: fp32"],
        ),
        (
            {"network": {"internal": False}},
            ["network.certificateArn: required", "network.allowedCidrs: required"],
        ),
    ],
)
def test_mistakes(sections, expected):
    text = message(config(**sections))
    for part in expected:
        assert part in text


def test_unknown_section():
    text = message({**config(), "gpufleet:scalling": SCALING})
    assert "gpufleet:scalling: unknown key" in text
    assert "did you mean gpufleet:scaling?" in text


def test_nothing_fits():
    text = message(config(instance={"maxPricePerHour": 0.1}))
    assert "instance.maxPricePerHour" in text


def test_user_data_too_large_is_said_before_anything_is_made(monkeypatch):
    made = []
    register = MockMonitor.RegisterResource
    monkeypatch.setattr(
        MockMonitor, "RegisterResource", lambda self, request: (made.append(request.type), register(self, request))[1]
    )
    text = message(config(serving={"environment": {"LONG": random.Random(1).randbytes(12_000).hex()}}))
    assert "larger than EC2 takes" in text
    assert "16,384 bytes" in text
    assert set(made) <= {"pulumi:pulumi:Stack"}


def test_a_plan_that_up_refuses():
    text = message(config(model={**MODEL, "id": "meta-llama/Llama-3.1-8B-Instruct", "parameters": "8.03B"}))
    assert "HF_TOKEN" in text


def test_an_account_that_does_not_answer_names_the_key(monkeypatch):
    answer = offline._Aws.call

    def call(self, args):
        failed = args.token.endswith("getVpc")
        return ({}, [("id", "UnauthorizedOperation")]) if failed else answer(self, args)

    monkeypatch.setattr(offline._Aws, "call", call)
    subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    text = message(config(network={"vpcId": "vpc-0123456789abcdef0", "subnetIds": subnets}))
    assert "network.vpcId: AWS has no answer" in text
    assert "given:   vpc-0123456789abcdef0" in text
    assert "UnauthorizedOperation" in text


@pytest.mark.parametrize("value", ["", "resolve:ssm:/x", "arn:aws:ssm:us-east-1::parameter/x"])
def test_a_parameter_without_an_ami_id_names_the_key(monkeypatch, value):
    monkeypatch.setattr(offline._Aws, "_parameter", lambda self, args: {"name": args["name"], "insecureValue": value})
    text = message(config(instance={"amiParameter": "/golden/gpu"}))
    assert "instance.amiParameter: /golden/gpu does not hold an AMI id" in text
    assert "allowed: an SSM parameter" in text
