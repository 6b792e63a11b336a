"""The `gpufleet` command: which subcommands there are. Each is imported when it is called, so that `plan` stays quick."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

# Imports allocate much and free nothing: collecting meanwhile is a tenth of a short command's time, and looking through
# all of it once more at the end a seventh.
gc.set_threshold(1_000_000)
atexit.register(gc.freeze)

import click  # noqa: E402

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Without this, pydantic reads the metadata of every installed package to look for plugins, at each start.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

SUBCOMMANDS = {
    "init": ("gpufleet.commands.init:init", "Ask for what a stack needs and write its file."),
    "check": ("gpufleet.commands.check:check", "Find what is wrong or risky in stacks before `up`."),
    "plan": ("gpufleet.commands.plan:plan", "Work out the instance type, the limits and the cost; create nothing."),
    "size": ("gpufleet.commands.size:size", "How much GPU memory a replica takes, part by part, and on which cards."),
    "simulate": (
        "gpufleet.commands.simulate:simulate_command",
        "What the scaling policies make of a trace of requests, before `up`.",
    ),
    "preview": ("gpufleet.commands.preview:preview", "Run the Pulumi program offline and print every resource."),
    "diff": ("gpufleet.commands.diff:diff", "What a change does to the stacks: the machine, the money and the risk."),
    "ami": ("gpufleet.commands.ami:ami", "Which AMI a stack boots, which one AWS has now; pin that one."),
    "catalog": ("gpufleet.commands.catalog:catalog", "What AWS has: show it, refresh it from AWS, compare two of it."),
    "render": ("gpufleet.commands.render:render", "Write the files that an instance gets: user data, agent, compose."),
    "up-local": (
        "gpufleet.commands.local:up_local",
        "Create a stack for real, against an AWS emulator on this machine.",
    ),
    "destroy-local": (
        "gpufleet.commands.local:destroy_local",
        "Destroy a stack made by up-local and stop the emulator.",
    ),
    "completion": ("gpufleet.commands.completion:completion", "Print the script by which a shell completes gpufleet."),
}


Subcommands = Mapping[str, tuple[str, str]]
"""Where each is (`module:attribute`) and its line in the help, by name."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only when it runs; its one-line help is in the table."""

    def __init__(self, *args: Any, subcommands: Subcommands, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subcommands = subcommands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.subcommands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.subcommands:
            return None
        module, _, attribute = self.subcommands[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Subcommands from the table, so that none is imported, and the group's own options."""
        from click.shell_completion import CompletionItem

        lines = [(name, line) for name, (_, line) in self.subcommands.items() if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=help_line) for name, help_line in lines] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.subcommands.items()])


@click.group(cls=LazyGroup, subcommands=SUBCOMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gpufleet")
def main() -> None:
    """From what a model needs to a GPU fleet on AWS that serves it.

    \b
    Examples:
      gpufleet init --model Qwen/Qwen3-8B --environment dev --region us-east-1
      gpufleet check
      gpufleet plan -s dev-us-east-1
      gpufleet plan -f requirements.yaml --format json
      gpufleet size -s dev-us-east-1 --gpu L4
      gpufleet preview -s prod-eu-west-1
      gpufleet diff main
      gpufleet catalog show --region us-east-1 --gpu L4
      gpufleet render -s dev-us-east-1 --to rendered/
    """
