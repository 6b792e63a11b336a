"""`gpufleet init` as a user runs it: with flags, in a terminal, and where something is in the way."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from gpufleet.cli import main
from gpufleet.commands import init as command
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from stacks.config import STACKS_DIRECTORY, read_stack_file
from tests.commands.terminal import Terminal
from tests.configuration.test_schema import mistakes

FLAGS = {"--model": "Qwen/Qwen3-8B", "--environment": "dev", "--region": "us-east-1", "--target": "2s"}
ARN = "arn:aws:ssm:us-east-1:123456789012:parameter/token"
GATED = "meta-llama/Llama-3.1-8B-Instruct"


def init(*arguments, **changed):
    """With every flag that is needed, but for those changed: `__min=2` for --min, None to leave one out."""
    flags = FLAGS | {f"--{name.strip('_').replace('_', '-')}": value for name, value in changed.items()}
    given = [part for flag, value in flags.items() if value is not None for part in (flag, str(value))]
    return CliRunner().invoke(main, ["init", *given, *map(str, arguments)])


@pytest.fixture
def file(tmp_path):
    return tmp_path / "Pulumi.dev-us-east-1.yaml"


def document_of(result):
    assert result.exit_code == 0, result.output
    config = yaml.safe_load(result.stdout)["config"]
    return {name.partition(":")[2]: section for name, section in config.items()}


def test_a_file_is_written_that_is_valid_and_has_a_plan(file):
    result = init("--to", file)
    assert result.exit_code == 0, result.output
    assert mistakes(yaml.safe_load(file.read_text(encoding="utf-8"))) == []
    document = read_stack_file(file)
    plan = plan_deployment(parse_requirements(document), load_catalog())
    assert document == {
        "region": "us-east-1",
        "model": {"id": "Qwen/Qwen3-8B"},
        "serving": {"image": plan.server.image},
        "scaling": {"min": 1, "max": 2, "latency": {"target": "2s"}},
        "tags": {"environment": "dev"},
    }
    assert f"Wrote {file}" in result.stdout
    assert plan.instance.type in result.stdout
    assert f"{plan.memory.per_gpu.total_gib:.2f} GiB" in result.stdout
    assert f"{plan.cost.hourly.max:.2f} USD per hour" in result.stdout
    assert f"gpufleet plan -f {file}" in result.stdout


def test_without_to_it_lies_in_stacks_under_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "STACKS_DIRECTORY", tmp_path)
    result = init(environment="prod-eu", region="eu-west-1")
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["Pulumi.prod-eu-eu-west-1.yaml"]
    for next_command in ("plan -s", "check -s", "stack init"):
        assert f"{next_command} prod-eu-eu-west-1\n" in result.stdout


def test_the_schema_is_named_by_its_path_from_the_file(tmp_path, file):
    init("--to", file)
    named = file.read_text(encoding="utf-8").splitlines()[0].partition("$schema=")[2]
    assert (tmp_path / named).resolve() == STACKS_DIRECTORY / "stack.schema.json"
    assert "$schema=stack.schema.json\n" in init("--to", "-").stdout


def test_printed_the_file_stands_alone_and_is_the_same_each_time():
    result = init("--to", "-")
    assert result.stdout == init("--to", "-").stdout
    assert document_of(result)["region"] == "us-east-1"
    assert "USD per hour" in result.stderr
    assert "USD per hour" not in result.stdout


def test_flags_fill_their_keys():
    document = document_of(
        init("--to", "-", model="my/model", parameters="13B", precision="fp16", max_model_len=4096, target="500ms",
             __min=3, hf_token_arn=ARN)
    )  # fmt: skip
    assert document["model"] == {"id": "my/model", "parameters": "13B", "precision": "fp16"}
    assert document["serving"]["maxModelLen"] == 4096
    assert document["serving"]["secrets"] == {"HF_TOKEN": ARN}
    assert document["scaling"] == {"min": 3, "max": 3, "latency": {"target": "500ms"}}


@pytest.mark.parametrize(
    ("target", "latency"), [("none", None), ("None", None), ("2", {"target": 2}), ("0.5", {"target": 0.5})]
)
def test_a_target_may_be_none_or_plain_seconds(target, latency):
    assert document_of(init("--to", "-", target=target))["scaling"].get("latency") == latency


def test_an_existing_file_is_left_as_it_is(file):
    file.write_text("mine", encoding="utf-8")
    result = init("--to", file)
    assert result.exit_code == 1
    assert "exists already and is left as it is" in result.stderr
    assert "--to" in result.stderr
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_link_to_nowhere_is_left_as_it_is(tmp_path, file):
    file.symlink_to(tmp_path / "elsewhere")
    assert init("--to", file).exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("no/such/Pulumi.dev-us-east-1.yaml", "there is no directory"), ("stack.json", "ends with .yaml")],
)
def test_a_place_where_no_stack_file_can_lie(tmp_path, name, says):
    result = init("--to", tmp_path / name)
    assert result.exit_code == 1
    assert says in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"model": "a b"}, ["--model: not a valid value", "Qwen/Qwen3-8B"]),
        ({"model": "a: b\n"}, ["--model: not a valid value"]),
        ({"model": "my/model", "parameters": "8"}, ["--parameters: not a valid value", "write 8B"]),
        ({"parameters": "80B"}, ["--parameters: contradicts the known architecture"]),
        ({"precision": "fp12"}, ["--precision: not a valid value", "fp16"]),
        ({"precision": "int8"}, ["--precision: ", "published in int8"]),
        ({"environment": "../x"}, ["--environment: no name for a stack"]),
        ({"environment": "a" * 41}, ["--environment: no name for a stack"]),
        ({"region": "us-est-1"}, ["--region: unknown region", "us-east-1"]),
        ({"region": "mars"}, ["--region: not a valid value"]),
        ({"target": "fast"}, ["--target: not a valid value", "2s"]),
        ({"target": "0"}, ["--target: not a valid value"]),
        ({"max": 0}, ["--max: not a valid value"]),
        ({"__min": 3, "__max": 2}, ["--min: more than scaling.max"]),
        ({"max_model_len": 10**6}, ["--max-model-len: longer than the model's own context"]),
        ({"model": GATED, "hf_token_arn": "hf_secret"}, ["--hf-token-arn: not a valid value", "(hidden)"]),
        ({"model": GATED, "hf_token_arn": ARN, "region": "eu-west-1"}, ["--hf-token-arn: lies in another region"]),
        ({"model": "x/y", "parameters": "3T"}, ["no instance type that us-east-1 offers can serve this"]),
        ({"model": "stabilityai/stable-diffusion-xl-base-1.0", "image": "UPPER"}, ["--image: not a valid value"]),
    ],
)
def test_a_mistake_is_told_by_its_flag_and_nothing_is_written(file, changed, says):
    result = init("--to", file, **changed)
    assert result.exit_code == 1
    for words in says:
        assert words in result.stderr
    assert "hf_secret" not in result.output
    assert "Traceback" not in result.output
    assert not file.exists()


def test_all_mistakes_are_told_at_once():
    told = init(environment="?", region="mars", target="fast", precision="fp12").stderr
    for flag in ("--environment", "--region", "--target", "--precision"):
        assert f"{flag}: " in told


@pytest.mark.parametrize(
    ("changed", "missing", "says"),
    [
        (dict.fromkeys(["model", "environment", "region", "target"]), list(FLAGS), ""),
        ({"region": None}, ["--region"], ""),
        ({"model": "Qwen/Qwen3-8C"}, ["--parameters"], "did you mean Qwen/Qwen3-8B"),
        ({"model": GATED}, ["--hf-token-arn"], "aws ssm put-parameter --region us-east-1"),
    ],
)
def test_without_a_terminal_the_missing_flags_are_named(changed, missing, says):
    result = init("--to", "-", **changed)
    assert result.exit_code == 2
    named = [line.split()[0] for line in result.stderr.splitlines() if line.startswith("  --")]
    assert sorted(named) == sorted(missing)
    assert says in result.stderr
    assert result.stdout == ""


# In a terminal --------------------------------------------------------------------------------------------------------


def test_questions_have_defaults_and_are_asked_again_after_a_wrong_answer(file):
    terminal = Terminal("init", "--to", str(file))
    terminal.answer("Environment, such as dev or prod [dev]:", "not a name")
    terminal.answer("up to 40 letters", "")
    terminal.answer("AWS region [us-east-1]:", "us-est-1")
    terminal.answer("did you mean us-west-1 or us-east-1", "")
    terminal.answer("Model id on Hugging Face [Qwen/Qwen3-8B]:", "Qwen/Qwen3-8C")
    terminal.answer("did you mean Qwen/Qwen3-8B", "8")
    terminal.answer("write 8B for eight billion", "8B")
    terminal.answer("or none [none]:", "fast")
    terminal.answer("2s, 500ms or 5m", "2s")
    assert terminal.end() == 0
    document = read_stack_file(file)
    assert document["model"] == {"id": "Qwen/Qwen3-8C", "parameters": "8B"}
    assert document["scaling"]["latency"] == {"target": "2s"}
    assert "a typical dense model" in terminal.shown


def test_what_a_flag_answers_is_not_asked_and_a_gated_model_asks_for_its_token(file):
    terminal = Terminal("init", "--to", str(file), "--environment", "dev", "--region", "us-east-1", "--target", "none")
    terminal.answer("Model id", GATED)
    terminal.answer("--name /gpufleet/dev-us-east-1/hf-token", "hf_secret")
    terminal.answer("never the secret itself", ARN)
    assert terminal.end() == 0
    assert "Environment" not in terminal.shown
    assert read_stack_file(file)["serving"]["secrets"] == {"HF_TOKEN": ARN}
    assert "# The model is gated on Hugging Face" in file.read_text(encoding="utf-8")


def test_where_a_token_lies_is_checked_once_the_region_is_known(file):
    arguments = ("init", "--to", str(file), "--hf-token-arn", ARN, "--environment", "dev")
    terminal = Terminal(*arguments)
    terminal.answer("AWS region", "eu-west-1")
    assert terminal.end() == 1
    assert "--hf-token-arn: lies in another region than the fleet (eu-west-1)" in terminal.shown
    assert "Model id" not in terminal.shown
    eu = Terminal("init", "--to", "-", "--hf-token-arn", ARN.replace("us-east-1", "eu-west-1"))
    eu.answer("Environment", "")
    eu.answer("AWS region", "eu-west-1")
    eu.interrupt("Model id")
    assert eu.end() == 1
    assert "Aborted!" in eu.shown


def test_the_file_can_be_piped_while_questions_are_asked(tmp_path):
    """Only standard output is redirected: the questions must not end up in the file."""
    script = tmp_path / "piped.yaml"
    terminal = Terminal("init", "--to", "-", stdout=script)
    for question in ("Environment", "AWS region", "Model id", "latency"):
        terminal.answer(question, "")
    assert terminal.end() == 0
    text = script.read_text(encoding="utf-8")
    assert text == init("--to", "-", target="none").stdout


def test_an_interrupt_writes_nothing(file):
    terminal = Terminal("init", "--to", str(file))
    terminal.answer("Environment", "")
    terminal.interrupt("AWS region")
    assert terminal.end() == 1
    assert "Aborted!" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert not file.exists()


def test_an_existing_file_is_told_before_anything_is_asked(file):
    file.touch()
    terminal = Terminal("init", "--to", str(file))
    assert terminal.end() == 1
    assert "exists already" in terminal.shown
    assert "Environment" not in terminal.shown


def test_an_existing_stack_is_told_before_the_model_is_asked():
    terminal = Terminal("init")
    terminal.answer("Environment", "dev")
    terminal.answer("AWS region", "us-east-1")
    assert terminal.end() == 1
    assert "stacks/Pulumi.dev-us-east-1.yaml exists already" in terminal.shown
    assert "Model id" not in terminal.shown


def test_the_plan_of_the_written_file_is_the_one_that_was_told(file):
    told = init("--to", file).stdout
    plan = json.loads(CliRunner().invoke(main, ["plan", "-f", str(file), "--format", "json"]).stdout)
    assert f"Instance:  {plan['instance']['type']}: " in told
    assert f"room for {plan['kvCacheTokens']:,} tokens" in told
