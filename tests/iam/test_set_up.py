"""The commands of docs/ci.md, run as they stand there, with an `aws` and a `gh` that note what they are told."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.emulator.running import PROJECT
from tests.iam.policies import MANAGED, ROLES, as_list, document

GUIDE = (PROJECT / "docs" / "ci.md").read_text(encoding="utf-8")
SECTION = GUIDE.partition("## Set up once")[2].partition("## A new stack")[0]
ENVIRONMENTS = ("dev", "staging", "prod")

NOTING = r"""#!/usr/bin/env python3
import json, pathlib, sys
arguments = [pathlib.Path(a[7:]).read_text() if a.startswith("file://") else a for a in sys.argv[1:]]
with open(f"{sys.argv[0]}.log", "a") as log:
    log.write(json.dumps(arguments) + "\n")
print("key-id" if "create-key" in arguments else "acme/fleet")
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each command was told, as options by name; those without one are under ''."""
    directory = tmp_path_factory.mktemp("bin")
    for name in ("aws", "gh"):
        (directory / name).write_text(NOTING)
        (directory / name).chmod(0o755)
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=PROJECT,
        env={"PATH": f"{directory}:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {name: [options(json.loads(line)) for line in lines(directory / f"{name}.log")] for name in ("aws", "gh")}


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


def options(arguments: list[str]) -> dict[str, str]:
    found = {"": ""}
    rest = iter(arguments)
    for argument in rest:
        if argument.startswith("--"):
            found[argument] = next(rest)
        else:
            found[""] = f"{found['']} {argument}".strip()
    return found


def of(told, command):
    return [call for call in told["aws"] if call[""] == command]


def test_each_role_gets_its_policies(told):
    given = {}
    for call in of(told, "iam put-role-policy"):
        given.setdefault(call["--role-name"], {})[call["--policy-name"]] = json.loads(call["--policy-document"])
    assert set(given) == {"gpufleet-preview", *(f"gpufleet-deploy-{name}" for name in ENVIRONMENTS)}
    inline = {role: set(ROLES[role]) - MANAGED for role in ROLES}
    assert given["gpufleet-preview"] == {name: document(name) for name in inline["preview"]}
    [managed] = of(told, "iam create-policy")
    assert (managed["--policy-name"], json.loads(managed["--policy-document"])) == ("gpufleet-read", document("read"))
    attached = {(call["--role-name"], call["--policy-arn"]) for call in of(told, "iam attach-role-policy")}
    assert attached == {(role, "arn:aws:iam::111122223333:policy/gpufleet-read") for role in given}
    for environment in ENVIRONMENTS:
        policies = given[f"gpufleet-deploy-{environment}"]
        assert set(policies) == inline["deploy"]
        narrowed = json.dumps(policies.pop("write"))
        assert narrowed.count(f'/gpufleet:stack": "{environment}-*"') == 7
        assert json.loads(narrowed.replace(f'"{environment}-*"', '"*"')) == document("write")
        assert policies == {name: document(name) for name in policies}


def test_each_role_trusts_its_own_jobs(told):
    subjects = {}
    for call in of(told, "iam create-role"):
        text = call["--assume-role-policy-document"]
        [statement] = json.loads(text)["Statement"]
        assert "111122223333" in statement["Principal"]["Federated"]
        claims = statement["Condition"]["StringEquals"]
        subjects[call["--role-name"]] = as_list(claims["token.actions.githubusercontent.com:sub"])
    repository = "repo:acme@1234567/fleet@7654321"
    assert subjects == {
        "gpufleet-preview": [f"{repository}:pull_request", f"{repository}:ref:refs/heads/main"],
        **{f"gpufleet-deploy-{name}": [f"{repository}:environment:{name}"] for name in ENVIRONMENTS},
    }


def test_the_state_has_the_names_that_the_policies_name(told):
    [alias] = [call["--alias-name"] for call in of(told, "kms create-alias")]
    assert alias in json.dumps(document("state-read"))
    buckets = [call[""].rpartition("//")[2] for call in told["aws"] if call[""].startswith("s3 mb")]
    assert buckets == ["gpufleet-state-111122223333"]
    assert of(told, "s3api put-bucket-versioning")


def test_the_variables_are_those_that_the_workflows_read(told):
    files = [*(PROJECT / ".github").rglob("*.yml")]
    read = {name for file in files for name in re.findall(r"\bvars\.(\w+)", file.read_text(encoding="utf-8"))}
    set_up = {call[""].removeprefix("variable set ") for call in told["gh"] if call[""].startswith("variable set")}
    assert read == set_up | {"PULUMI_ORGANIZATION"}
    environments = [call["--env"] for call in told["gh"] if "--env" in call]
    assert tuple(environments) == ENVIRONMENTS


def test_what_the_guide_links_to_exists():
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDE):
        assert (PROJECT / "docs" / link).exists(), link
