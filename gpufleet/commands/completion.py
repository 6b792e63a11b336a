"""`gpufleet completion`: prints the script by which a shell completes gpufleet. The script asks gpufleet itself."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
PROGRAM = "gpufleet"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes subcommands, options, stacks, regions and model ids.

    `gpufleet` must be on PATH: with the virtual environment activated, or linked to from a folder that is.

    \b
    Examples:
      source <(gpufleet completion bash)                                  # this session; in ~/.bashrc: every one
      gpufleet completion zsh > "${fpath[1]}/_gpufleet"                   # then start zsh again
      gpufleet completion fish > ~/.config/fish/completions/gpufleet.fish
    """
    from click.shell_completion import get_completion_class

    from gpufleet.cli import main

    kind = get_completion_class(shell)
    assert kind, f"click completes {shell}"
    # Not `source()`, which for bash asks the bash on PATH whether it is new enough.
    script = kind(main, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    click.echo(script.source_template % script.source_vars())
