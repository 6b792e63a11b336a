"""A history of eleven commits that change one thing each, as a team's repository would have it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.repository import PROJECT, Repository, copy_project

INT8_STACK, FP8_STACK, INDIA_STACK, DEV_STACK = "prod-eu-west-1", "prod-us-east-1", "prod-ap-south-1", "dev-us-east-1"
NEW_STACK = "staging-us-west-2"
AMI = "ami-0123456789abcdef0"

NEW_FILE = """\
config:
  aws:region: us-west-2
  gpufleet:model:
    id: Qwen/Qwen3-8B
  gpufleet:instance:
    type: g6.xlarge
  gpufleet:scaling:
    min: 1
    max: 3
"""


def file_of(stack: str) -> str:
    """A stack's file."""
    return f"stacks/Pulumi.{stack}.yaml"


def precision(repository: Repository) -> None:
    repository.edit(
        file_of(INT8_STACK),
        "    id: Qwen/Qwen2.5-14B-Instruct-GPTQ-Int8\n    parameters: 14.77B\n"
        "    architecture: architectures/Qwen2.5-14B-Instruct-GPTQ-Int8.json\n    precision: int8\n",
        "    id: Qwen/Qwen2.5-14B-Instruct\n    parameters: 14.77B\n    precision: fp16\n",
    )


def family(repository: Repository) -> None:
    repository.edit(file_of(FP8_STACK), "families: [g6e, p5]", "families: [p5]")


def scaling_target(repository: Repository) -> None:
    repository.edit(file_of(INDIA_STACK), "requestsInFlight: 9", "requestsInFlight: 10")


def tag(repository: Repository) -> None:
    repository.edit(file_of(DEV_STACK), "team: ml-platform", "team: search")


def template_text(repository: Repository) -> None:
    repository.edit("templates/boot.sh.j2", "containers of $STACK serve", "containers of $STACK are up")


def ami(repository: Repository) -> None:
    repository.edit(file_of(FP8_STACK), "    minZones: 2\n", f"    minZones: 2\n    ami: {AMI}\n")


def region_price(repository: Repository) -> None:
    set_price(repository, "g6.xlarge", 0.9048)


def set_price(repository: Repository, name: str, usd_per_hour: float) -> None:
    """Another on-demand price in us-east-1, as a refresh of the catalogue would write it."""
    file = repository.directory / "gpufleet/planner/catalog/data/regions/us-east-1.json"
    document = json.loads(file.read_bytes())
    document["offers"][name]["onDemand"] = usd_per_hour
    file.write_text(json.dumps(document), encoding="utf-8")


def dearer_type(repository: Repository) -> None:
    set_price(repository, "g6.xlarge", 1.9048)


def deleted_stack(repository: Repository) -> None:
    (repository.directory / file_of(INDIA_STACK)).unlink()


def new_stack(repository: Repository) -> None:
    (repository.directory / file_of(NEW_STACK)).write_text(NEW_FILE, encoding="utf-8")


def broken_file(repository: Repository) -> None:
    repository.edit(file_of(DEV_STACK), "    max: 2\n", "    maximum: 2\n")


CHANGES: tuple[Callable[[Repository], None], ...] = (
    precision, family, scaling_target, tag, template_text, ami, region_price, dearer_type, deleted_stack, new_stack, broken_file,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class History:
    """The repository, and (the commit before, the commit itself) by the name of the change."""

    repository: Repository
    commits: Mapping[str, tuple[str, str]]

    def diff(self, change: str, *options: str) -> tuple[int, dict[str, Any]]:
        """Exit status and JSON of `gpufleet diff` over one commit."""
        done = self.repository.gpufleet("diff", *self.commits[change], "--format", "json", *options)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)


def write_history(repository: Repository) -> History:
    """Commit every change on top of the other."""
    commits, before = {}, repository.git("rev-parse", "HEAD")
    for change in CHANGES:
        change(repository)
        after = repository.commit(change.__name__.replace("_", " "))
        commits[change.__name__], before = (before, after), after
    return History(repository, commits)


README = PROJECT / "README.md"
START, END = "<!-- comment: written by `python -m tests.review.history` -->\n", "<!-- end of comment -->\n"


def readme_comment(history: History) -> str:
    """What a reader of the README sees of the first commit's comment: all that is not folded."""
    done = history.repository.gpufleet("diff", *history.commits["precision"], "--format", "markdown")
    visible = done.stdout.partition("<details>")[0].strip().splitlines()[1:]  # without its mark
    kept = (line for line in visible if not line.startswith("From "))  # the hashes of the moment
    return re.sub(r"(> ?\n)+", ">\n", "".join(f"> {line}".rstrip() + "\n" for line in kept))


def with_comment(text: str, comment: str) -> str:
    """The README's text with the comment between its marks."""
    before, rest = text.split(START)
    return before + START + comment + END + rest.split(END)[1]


def main() -> None:
    """Write the comment into the README anew."""
    with tempfile.TemporaryDirectory() as directory:
        comment = readme_comment(write_history(copy_project(Path(directory, "project"))))
    README.write_text(with_comment(README.read_text(encoding="utf-8"), comment), encoding="utf-8")


if __name__ == "__main__":
    main()
