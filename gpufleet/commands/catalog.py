"""`gpufleet catalog`: the group of what is done with the catalogue itself. Each subcommand is imported when it is called."""

from __future__ import annotations

import click

from gpufleet.cli import LazyGroup

SUBCOMMANDS = {
    "show": ("gpufleet.commands.catalog_show:show", "Instance types, where they are offered and what they cost; GPUs."),
    "refresh": ("gpufleet.commands.catalog_refresh:refresh", "Ask AWS, and write the catalogue's files anew."),
    "diff": ("gpufleet.commands.catalog_diff:diff", "What changed, and which stacks would choose otherwise."),
}


@click.group(cls=LazyGroup, subcommands=SUBCOMMANDS)
def catalog() -> None:
    """What AWS has, as of the dates in the repository's files: instance types, GPUs, offerings and prices.

    \b
    Examples:
      gpufleet catalog show --gpu L4 --region us-east-1
      gpufleet catalog refresh --region us-east-1
      gpufleet catalog diff
    """
