"""A command in a real terminal: what it shows is read, and answers are typed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'gpufleet'; from gpufleet.cli import main; main()"]
PATIENCE_SECONDS = 30


class Terminal:
    """A running command whose standard streams are one terminal, which is also its controlling one; standard output may be a
    file instead."""

    def __init__(self, *arguments: str, stdout: Path | None = None) -> None:
        self.shown = ""
        self._seen = 0
        self._ours, theirs = os.openpty()
        with contextlib.ExitStack() as files:
            self._process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
                stdin=theirs,
                stdout=files.enter_context(stdout.open("wb")) if stdout else theirs,
                stderr=theirs,
                preexec_fn=_take_terminal,
            )
        os.close(theirs)

    def answer(self, question: str, text: str) -> None:
        """Type once the question is shown, and Enter."""
        self._read_until(question)
        os.write(self._ours, f"{text}\n".encode())
        self._seen = len(self.shown)

    def interrupt(self, question: str) -> None:
        """Press Ctrl-C once the question is shown; again where it came before anybody listened for keys."""
        self._read_until(question)
        for _ in range(PATIENCE_SECONDS):
            os.write(self._ours, b"\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
                return

    def end(self) -> int:
        """The exit status, once everything is shown."""
        self._read_until(None)
        os.close(self._ours)
        return self._process.wait(PATIENCE_SECONDS)

    def _read_until(self, words: str | None) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while words is None or words not in self.shown[self._seen :]:
            assert time.monotonic() < give_up, f"{words!r} is not shown: {self.shown!r}"
            if not select.select([self._ours], [], [], 0.1)[0]:
                continue
            try:
                read = os.read(self._ours, 4096)
            except OSError as error:
                if error.errno != errno.EIO:  # how Linux says that the other side has ended
                    raise
                read = b""
            if not read:
                assert words is None, f"{words!r} is not shown: {self.shown!r}"
                return
            self.shown += read.decode().replace("\r\n", "\n")


def _take_terminal() -> None:
    """As a shell starts a command: whoever runs the tests may ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
