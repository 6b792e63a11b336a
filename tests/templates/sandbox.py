"""An instance to run user data on: a directory as the root, and stand-ins for what only an instance has.

A stand-in notes its arguments and answers as its instance is set up; everything else is the machine's own.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

_NOTE = r"""#!/bin/bash
printf '%s\0' "${0##*/}" "$@" $'\x1e' >>"$CALLS"
"""

_ANSWERS = {
    "aws": """case "$1" in
  ssm | secretsmanager) [[ $SECRETS == present ]] && echo "value of ${!#}  with # and \\$" || exit 254 ;;
esac""",
    "blkid": "exit 2",
    "curl": 'case "$*" in */api/token*) echo a-token ;; */instance-type*) echo "$INSTANCE_TYPE" ;; *) exit 22 ;; esac',
    "dnf": "exit 1",
    "docker": """[[ $1 != image ]] || exec test -e "$CALLS.${3//\\//_}"
if [[ $1 == pull ]]; then
  echo x >>"$CALLS.tries"
  (($(wc -l <"$CALLS.tries") > PULL_FAILURES)) || exit 1
  touch "$CALLS.${!#//\\//_}"
fi""",
    "lsblk": 'printf "%s" "$DISKS"',
    "mdadm": "[[ $1 == --create ]]",
    "mkfs.xfs": "",
    "mount": "",
    "mountpoint": "exit 1",
    "nvidia-ctk": "",
    "nvidia-smi": '((GPUS)) || exit 9; for ((i = 0; i < GPUS; i++)); do echo "GPU-$i"; done',
    "sleep": "",
    "systemctl": '[[ "$*" != *dlami-nvme* ]]',
}

AGENT = "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What an instance is; `boot` runs a script on it."""

    home: Path
    type: str = "g6.2xlarge"
    gpus: int = 8
    secrets: str = "present"
    disks: str = ""
    pull_failures: int = 0
    agent: bool = True
    removed: frozenset[str] = field(default_factory=frozenset)

    @property
    def root(self) -> Path:
        """Where the script finds `/`."""
        return self.home / "root"

    def with_(self, **changes: object) -> Instance:
        """The same instance with something else about it."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def boot(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run `script` as cloud-init does: from a file, without arguments."""
        path = self.home / "part-001"
        path.write_text(script, encoding="utf-8")
        path.chmod(0o700)
        return self.run(str(path))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the stand-ins first on PATH."""
        tools = self.home / "bin"
        tools.mkdir(parents=True, exist_ok=True)
        for name, answer in _ANSWERS.items():
            self._stand_in(tools / name, answer)
        for name in self.removed:
            (tools / name).unlink()
        if self.agent:
            self._stand_in(self.root / AGENT, "")
        return subprocess.run(
            command,
            env={
                "PATH": f"{tools}:{os.defpath}:/usr/sbin:/sbin",
                "GPUFLEET_ROOT": str(self.root),
                "CALLS": str(self.home / "calls"),
                "INSTANCE_TYPE": self.type,
                "GPUS": str(self.gpus),
                "SECRETS": self.secrets,
                "DISKS": self.disks,
                "PULL_FAILURES": str(self.pull_failures),
                "HOME": str(self.home),
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self, *start: str) -> list[list[str]]:
        """The arguments of every call that begins with `start`, in order."""
        notes = self.home / "calls"
        text = notes.read_text(encoding="utf-8") if notes.exists() else ""
        every = [note.split("\0")[:-1] for note in text.split("\x1e\0") if note]
        return [call for call in every if call[: len(start)] == list(start)]

    def log(self) -> str:
        """What the script wrote to its log."""
        return (self.root / "var/log/gpufleet.log").read_text(encoding="utf-8")

    @staticmethod
    def _stand_in(path: Path, answer: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{_NOTE}{answer}\n", encoding="utf-8")
        path.chmod(0o755)


def options(
    arguments: list[str], *, flags: frozenset[str] = frozenset({"--rm", "--read-only"})
) -> tuple[dict[str, list[str]], list[str]]:
    """Docker's options before the image, by name, and the rest: the image and its command."""
    found: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("--"):
        name = rest.pop(0)
        found.setdefault(name, []).append("" if name in flags else rest.pop(0))
    return found, rest
