"""An instance to run user data on: a directory as the root, and stand-ins for what only an instance has.

A stand-in notes its arguments and answers as its instance is set up; everything else is the machine's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from templates.render import InstanceFile

_NOTE = r"""#!/bin/bash
printf '%s\0' "${0##*/}" "$@" $'\x1e' >>"$CALLS"
"""

_ANSWERS = {
    "aws": """store=$HOME/store
case "$1 $2" in
  ssm* | secretsmanager*) [[ $SECRETS == present ]] && echo "value of ${!#}  with # and \\$" || exit 254 ;;
  'ec2 describe-tags') echo "$GROUP_NAME" ;;
  's3api list-objects-v2') cat "$store/objects.json" ;;
  's3api head-object') for ((i = 1; i < $#; i++)); do [[ ${!i} != --key ]] || { ((i++)); cat "$store/heads/${!i}"; }; done ;;
  's3 cp') cp "$store/${4#s3://*/}" "$5" ;;
  'autoscaling complete-lifecycle-action') echo x >>"$CALLS.told"; (($(wc -l <"$CALLS.told") > TELL_FAILURES)) ;;
esac""",
    "blkid": "exit 2",
    "curl": """for ((i = 1; i <= $#; i++)); do
  case ${!i} in http*) url=${!i} ;; -o) ((i++)); to=${!i} ;; esac
done
nth() { echo x >>"$CALLS.$1"; wc -l <"$CALLS.$1"; }
case $url in
  */api/token) echo a-token ;;
  */meta-data/instance-id) echo i-0123456789abcdef0 ;;
  */meta-data/instance-type) echo "$INSTANCE_TYPE" ;;
  */meta-data/*) cat "$HOME/metadata/${url#*/meta-data/}" 2>/dev/null || exit 22 ;;
  */api/models/*) cat "$HOME/store/listing.json" 2>/dev/null || exit 22 ;;
  */resolve/*) cat "$HOME/store/${url#*/resolve/*/}" 2>/dev/null >>"$to" || exit 22 ;;
  */metrics) cat "$HOME/metrics.$(nth looks)" 2>/dev/null || cat "$HOME/metrics" 2>/dev/null || exit 22 ;;
  *) (($(nth asked) > HEALTH_FAILURES)) || exit 22 ;;
esac""",
    "dnf": "exit 1",
    "docker": """[[ $1 != stop || ! -e $HOME/pids/${!#} ]] || kill -9 "$(cat "$HOME/pids/${!#}")"
[[ $1 != image ]] || exec test -e "$CALLS.${3//\\//_}"
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

COMMIT = "0123456789abcdef0123456789abcdef01234567"

WEIGHTS: dict[str, bytes] = {
    "model-00001-of-00002.safetensors": b"first half " * 100,
    "model-00002-of-00002.safetensors": b"second half " * 99,
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "empty.txt": b"",
}
"""What a server needs of the repository below."""

UNWANTED: dict[str, bytes] = {
    "pytorch_model.bin": b"the same once more" * 9,
    "consolidated.safetensors": b"and once more" * 9,
    "README.md": b"# words",
    "logo.png": b"PNG",
}

S3_PREFIX = "qwen3-8b/"


def hub_listing(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What Hugging Face's API says of a repository with these files."""

    def sibling(name: str, content: bytes) -> dict[str, Any]:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        is_large = name.endswith((".safetensors", ".bin"))
        return {"rfilename": name, "size": len(content), "blobId": git} | ({"lfs": large} if is_large else {})

    return {"sha": COMMIT, "siblings": [sibling(name, content) for name, content in files.items()]}


def put_weights(store: Path) -> None:
    """The repository on Hugging Face and the same files in S3, as the stand-ins give them out."""
    if store.exists():
        return
    files = WEIGHTS | UNWANTED
    for name, content in files.items():
        for path in (store / name, store / S3_PREFIX / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        head = store / "heads" / S3_PREFIX / name
        head.parent.mkdir(parents=True, exist_ok=True)
        head.write_text(f'None\tNone\tAES256\t"{hashlib.md5(content).hexdigest()}"\n')
    (store / "listing.json").write_text(json.dumps(hub_listing(files)))
    objects = [{"Key": S3_PREFIX + name, "Size": len(content)} for name, content in files.items()]
    (store / "objects.json").write_text(json.dumps({"Contents": [{"Key": S3_PREFIX, "Size": 0}, *objects]}))


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
    health_failures: int = 0
    tell_failures: int = 0
    group: str = "gpufleet-group-0123456"
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
        put_program(path, script, mode=0o700)
        return self.run(str(path))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the stand-ins first on PATH."""
        tools = self.home / "bin"
        put_weights(self.home / "store")
        for name, answer in _ANSWERS.items():
            put_program(tools / name, f"{_NOTE}{answer}\n")
        for name in self.removed:
            (tools / name).unlink()
        if self.agent:
            put_program(self.root / AGENT, f"{_NOTE}\n")
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
                "HEALTH_FAILURES": str(self.health_failures),
                "TELL_FAILURES": str(self.tell_failures),
                "GROUP_NAME": self.group,
                "HOME": str(self.home),
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts that user data puts on the instance."""
        return self.run(str(self.library / f"{name}.sh"), *arguments)

    @property
    def library(self) -> Path:
        """Where the scripts are."""
        return self.root / "usr/local/lib/gpufleet"

    def unpack(self, files: Mapping[InstanceFile, str]) -> None:
        """Put an instance's files in place without booting it."""
        for file, text in files.items():
            path = self.root / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(file.mode)

    def metadata(self, path: str, text: str) -> None:
        """Have the metadata service say something."""
        file = self.home / "metadata" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def calls(self, *start: str) -> list[list[str]]:
        """The arguments of every call that begins with `start`, in order."""
        notes = self.home / "calls"
        text = notes.read_text(encoding="utf-8") if notes.exists() else ""
        every = [note.split("\0")[:-1] for note in text.split("\x1e\0") if note]
        return [call for call in every if call[: len(start)] == list(start)]

    def log(self) -> str:
        """What the script wrote to its log."""
        return (self.root / "var/log/gpufleet.log").read_text(encoding="utf-8")


def put_program(path: Path, text: str, *, mode: int = 0o755) -> None:
    """Write a program in one step: the last heartbeat of a boot may be about to execute it, and then it takes no text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(mode)
    new.replace(path)


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
