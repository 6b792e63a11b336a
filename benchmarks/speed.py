"""Speed, as ratios in one run: absolute times differ from machine to machine, ratios do not by much.

Run `make benchmark`. Milliseconds are reported, ratios are gated; exit status 1 where one is over its gate. The runs of
the two sides alternate, and the median of the pairs' ratios counts, so that a machine whose speed drifts is no matter.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
GPUFLEET = str(Path(sys.executable).with_name("gpufleet"))
STACK = "dev-us-east-1"
RUNS = 9
BATCH_PLANS = 1000
BATCH_SIZES = 2000
REGION_MODELS = 100
SELECTOR = "ec2-instance-selector"

sys.path.insert(0, str(ROOT))

BARE_PROGRAM = """
import pulumi
import pulumi_aws as aws

# The SDK imports a module when something of it is first used.
USED = (
    aws.autoscaling.Group, aws.cloudwatch.Dashboard, aws.ec2.Vpc, aws.iam.Role, aws.lb.Listener, aws.ssm.get_parameter,
    aws.vpc.SecurityGroupIngressRule,
)
for i in range({count}):
    aws.cloudwatch.LogGroup(f"group-{{i}}", name=f"/bare/{{i}}", retention_in_days=30)
aws.get_availability_zones(state="available")
"""


class Measured(NamedTuple):
    """One comparison: the median milliseconds of both sides and of their ratio, pair by pair."""

    name: str
    milliseconds: float
    base_milliseconds: float
    ratio: float
    gate: float | None
    """None: for information."""

    @property
    def is_over(self) -> bool:
        """Whether it costs more than it may."""
        return self.gate is not None and self.ratio > self.gate

    def row(self) -> str:
        """The comparison as a line of the report."""
        gate = "" if self.gate is None else f"{self.gate:.1f}"
        mark = "  over" if self.is_over else ""
        return (
            f"{self.name:62} {self.milliseconds:8.0f} {self.base_milliseconds:8.0f} {self.ratio:6.2f} {gate:>6}{mark}"
        )


def compare(
    name: str, gate: float | None, run: Callable[[], None], base: Callable[[], None], runs: int = RUNS
) -> Measured:
    """How long both sides take."""
    return measured(name, gate, lambda: _seconds(run), lambda: _seconds(base), runs)


def measured(
    name: str, gate: float | None, run: Callable[[], float], base: Callable[[], float], runs: int = RUNS
) -> Measured:
    """Both sides in turn, which say their seconds themselves; after one run each that does not count."""
    run()
    base()
    pairs = [(run(), base()) for _ in range(runs)]
    return Measured(
        name,
        1000 * statistics.median(a for a, _ in pairs),
        1000 * statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
        gate,
    )


def _seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def command(
    *arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None, statuses: tuple[int, ...] = (0,)
) -> Callable[[], None]:
    """A run of a command that must end with one of these statuses, its output thrown away."""

    def run() -> None:
        done = subprocess.run(arguments, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode not in statuses:
            raise subprocess.CalledProcessError(done.returncode, arguments, stderr=done.stderr)

    return run


def planning(directory: Path) -> Iterator[Measured]:
    """Cold plans against a bare import, and a batch against a cold plan."""
    imports = command(sys.executable, "-c", "import pydantic")
    plan = command(GPUFLEET, "plan", "-s", STACK)
    as_json = command(GPUFLEET, "plan", "-s", STACK, "--format", "json")
    yield compare("gpufleet plan / import pydantic", 4.0, plan, imports)
    yield compare("gpufleet plan --format json / import pydantic", 3.5, as_json, imports)
    batch = directory / "batch.jsonl"
    batch.write_text("\n".join(_documents(BATCH_PLANS)), encoding="utf-8")
    many = command(GPUFLEET, "plan", "--batch", str(batch))
    yield compare(f"{BATCH_PLANS:,} plans in a batch / gpufleet plan", 40.0, many, plan, runs=3)
    sizes = directory / "sizes.jsonl"
    sizes.write_text("\n".join(_documents(BATCH_SIZES)), encoding="utf-8")
    size = command(GPUFLEET, "size", "-s", STACK, "--gpu", "H100")
    many = command(GPUFLEET, "size", "--batch", str(sizes), "--gpu", "H100")
    yield compare(f"{BATCH_SIZES:,} sizings in a batch / gpufleet size", 10.0, many, size, runs=3)


CATALOGUE = """
from gpufleet.planner.catalog import load_catalog

catalog = load_catalog()
catalog.offers("us-east-1")
"""


def loading() -> Iterator[Measured]:
    """The catalogue as a plan reads it, code and files, against a bare import; both in a process that has what they share."""
    catalogue, imports = inside(CATALOGUE), inside("import pydantic")
    yield measured("loading the catalogue / import pydantic", 0.5, catalogue, imports)


def inside(code: str) -> Callable[[], float]:
    """Seconds that the code takes in a new process, without the process's own start."""
    program = f"import collections.abc, functools, json, pathlib, re, time, typing\nstart = time.perf_counter()\n{code}"

    def run() -> float:
        done = subprocess.run(
            [sys.executable, "-c", f"{program}\nprint(time.perf_counter() - start)"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return float(done.stdout)

    return run


def regions(directory: Path) -> Iterator[Measured]:
    """Plans over the whole catalogue, against one."""
    from gpufleet.planner.catalog import load_catalog

    batch = directory / "regions.jsonl"
    models = _known_models(REGION_MODELS)
    lines = [_document(region, model) for model in models for region in load_catalog().regions]
    batch.write_text("\n".join(lines), encoding="utf-8")
    many = command(GPUFLEET, "plan", "--batch", str(batch), statuses=(0, 1))
    plan = command(GPUFLEET, "plan", "-s", STACK)
    yield compare(f"{len(lines):,} plans, every region / gpufleet plan", 100.0, many, plan, runs=3)


def _known_models(count: int) -> list[str]:
    """Language models of the registry, evenly spread over its ids."""
    from gpufleet.planner.models import known_ids, known_model

    ids = [i for i in known_ids() if (found := known_model(i)) and "components" not in found.config]
    return ids[:: len(ids) // count][:count]


def _document(region: str, model: str) -> str:
    """A known model in a region, from a bucket: some of them are gated."""
    asked = {"id": model, "source": "s3://example-models/model"}
    return json.dumps({"region": region, "model": asked, "scaling": {"min": 1, "max": 2}})


def selections(directory: Path) -> Iterator[Measured]:
    """For information: Amazon's selector of instance types, on which types of a region have a GPU of 18 GiB or more. It asks
    the emulator each time, as it would AWS."""
    from tests.emulator.running import isolated_environment, running_emulator

    with running_emulator(directory / "selector-log") as emulator:
        environment = isolated_environment(
            AWS_ENDPOINT_URL=emulator.endpoint,
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_EC2_METADATA_DISABLED="true",
            HOME=str(directory),
        )
        question = ("--gpus-min", "1", "--gpu-memory-total-min", "18", "-r", "us-east-1", "--max-results", "100")
        theirs = command(SELECTOR, *question, env=environment)
        ours = command(GPUFLEET, "plan", "-s", STACK)
        yield compare(f"{SELECTOR} / gpufleet plan", None, theirs, ours, runs=3)


def _documents(count: int) -> Iterator[str]:
    """Different models in different regions, all of which can be planned."""
    regions = ("us-east-1", "us-west-2", "eu-west-1", "ap-south-1", "ap-northeast-1")
    for place in range(count):
        billions = 1 + place % 30
        model = {"id": f"example/model-{place}", "parameters": f"{billions}B", "precision": "fp16"}
        scaling = {"min": 1, "max": 1 + place % 5}
        yield json.dumps({"region": regions[place % 5], "model": model, "scaling": scaling})


def comparisons() -> Iterator[Measured]:
    """Every stack compared with itself, both sides run, against the offline preview of one stack.

    The program runs eight times, in two processes; a production stack has half as many resources again as the one previewed.
    """
    diff = command(GPUFLEET, "diff", str(ROOT), str(ROOT))
    preview = command(GPUFLEET, "preview", "-s", STACK)
    yield compare("gpufleet diff of all stacks / gpufleet preview of one", 4.0, diff, preview, runs=5)


def previews(directory: Path) -> Iterator[Measured]:
    """`pulumi preview` of a stack against a bare program with the same imports and as many resources."""
    from gpufleet.offline import run_program, stack_config
    from tests.emulator.running import isolated_environment, running_emulator

    count = sum(r.type.startswith("aws:") for r in run_program(STACK, stack_config(STACK)).resources)
    bare = directory / "bare"
    bare.mkdir()
    (bare / "__main__.py").write_text(BARE_PROGRAM.format(count=count), encoding="utf-8")
    project = (ROOT / "Pulumi.yaml").read_text(encoding="utf-8").replace(".venv", str(ROOT / ".venv"))
    (bare / "Pulumi.yaml").write_text(project.replace("name: gpufleet", "name: bare"), encoding="utf-8")
    with running_emulator(directory / "log") as emulator:
        environment = isolated_environment(
            AWS_ENDPOINT_URL=emulator.endpoint,
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            AWS_EC2_METADATA_DISABLED="true",
        )
        ours, theirs = (
            _preview(project_directory, directory / name, environment)
            for name, project_directory in (("ours-state", ROOT), ("bare-state", bare))
        )
        yield compare(f"pulumi preview / a bare program of {count} resources", 1.3, ours, theirs, runs=5)


def _preview(project: Path, directory: Path, environment: dict[str, str]) -> Callable[[], None]:
    """A preview of a new stack of a project. Its state and stack file lie in `directory`: Pulumi writes into both."""
    config = directory / "stacks" / f"Pulumi.{STACK}.yaml"
    config.parent.mkdir(parents=True)
    shutil.copy(project / "Pulumi.yaml", directory)
    stack_file = (ROOT / "stacks" / config.name).read_text(encoding="utf-8")
    config.write_text(stack_file + '  aws:s3UsePathStyle: "true"\n', encoding="utf-8")
    state = directory / "state"
    state.mkdir()
    environment = environment | {"PULUMI_BACKEND_URL": state.as_uri(), "PULUMI_CONFIG_PASSPHRASE": ""}
    command("pulumi", "stack", "init", STACK, cwd=directory, env=environment)()
    return command("pulumi", "preview", "-s", STACK, "--config-file", str(config), cwd=project, env=environment)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for the run, gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main() -> int:
    """Print every comparison; 1 where one is over its gate."""
    over = False
    with scratch() as directory:
        groups = [loading(), planning(directory), regions(directory), comparisons()]
        if shutil.which(SELECTOR):
            groups.append(selections(directory))
        else:
            print(f"{SELECTOR} is not on PATH: it is left out", file=sys.stderr)
        if shutil.which("pulumi"):
            groups.append(previews(directory))
        else:
            print("pulumi is not on PATH: its preview is left out", file=sys.stderr)
        print(f"{'comparison':62} {'ms':>8} {'base ms':>8} {'ratio':>6} {'gate':>6}")
        for group in groups:
            for m in group:
                over = over or m.is_over
                print(m.row())
    return int(over)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
