"""`gpufleet catalog refresh`: asks AWS and writes the catalogue's files anew. Thin: the work is `gpufleet.refresh`'s."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from gpufleet.commands.inputs import complete_regions, errors_for_people
from gpufleet.planner.catalog.storage import DATA_DIRECTORY
from gpufleet.refresh.account import Account
from gpufleet.refresh.documents import Files, make_files, read_documents, unpriced
from gpufleet.refresh.run import ask_aws, choose_regions
from gpufleet.refresh.write import put_in_place, standing_catalogue
from stacks.config import display_path

EVERY = 10
"""Without a terminal there is a line after each region, and after so many prices."""


@click.command()
@click.option(
    "--region", "regions", metavar="REGION", multiple=True, shell_complete=complete_regions,
    help="Only this region; may be repeated. Defaults to every region of the catalogue that the account uses.",
)  # fmt: skip
@click.option(
    "--to", "directory", metavar="DIR", type=click.Path(path_type=Path), default=DATA_DIRECTORY,
    help="Write there instead of over the repository's own files.",
)  # fmt: skip
def refresh(regions: tuple[str, ...], directory: Path) -> None:
    """Ask AWS what it has and what it costs, and write the catalogue's files anew.

    Types, offerings and zones, on-demand and spot prices, prices of what else a stack makes. Needs AWS credentials with the
    policy docs/iam/catalog.json, which only reads. Nothing is written before all is read. A price that AWS does not answer
    becomes unknown; a region that the account does not use is kept as it was. The result is a change to review:
    `gpufleet catalog diff` says what moved and which stacks would choose otherwise.

    \b
    Examples:
      gpufleet catalog refresh
      gpufleet catalog refresh --region us-east-1 --region eu-west-1
      gpufleet catalog refresh --to /tmp/catalog
    """
    with errors_for_people():
        standing = standing_catalogue(directory)
        documents = read_documents(standing)
        known = [document["region"] for name, document in documents.items() if name.startswith("regions/")]
        account, now = Account(), datetime.now(UTC)
        chosen = choose_regions(account, regions, known)
        click.echo(f"Asking AWS about {len(chosen.regions)} of {len(known)} regions", err=True)
        with RefreshProgress() as progress:
            answers, notes = ask_aws(account, chosen, known, now, progress)
        files = make_files(documents, answers)
        put_in_place(files.texts, standing, directory)
    for note in (*chosen.notes, *notes, *files.notes):
        click.echo(f"note: {note}", err=True)
    click.echo(_summary(files, directory))


def _summary(files: Files, directory: Path) -> str:
    count, without = len(files.texts), list(unpriced(files))
    unknown = f"; {len(without)} offers have no on-demand price" if without else ""
    own = directory == DATA_DIRECTORY
    following = "gpufleet catalog diff" if own else f"gpufleet catalog diff HEAD {directory}"
    return f"{count} files written to {display_path(directory)}{unknown}\nWhat changed: {following}"


class RefreshProgress:
    """A bar for each kind of question; without a terminal, lines now and then."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(console=self._console, transient=True, disable=not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> RefreshProgress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, what: str, done: int, count: int) -> None:
        """Another question is answered."""
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=count)
        self._bars.update(self._tasks[what], completed=done)
        if not self._console.is_terminal and (done == count or done % EVERY == 0):
            click.echo(f"  {what}: {done} of {count}", err=True)
