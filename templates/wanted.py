"""Which files of a listing a server needs: the commit on the first line, then bytes, digest, URL path and path of each.

Reads what Hugging Face's API (`siblings`) or `aws s3api list-objects-v2` (`Contents`, below the prefix that is the
argument) says, as JSON on standard input; fails where no weights are in it. Runs on the instance, under Python 3.9.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

SAFE_WEIGHTS = ".safetensors"
OTHER_WEIGHTS = frozenset({".bin", ".ckpt", ".h5", ".msgpack", ".onnx", ".ot", ".pt", ".pth"})
"""Formats in which a repository may hold the same weights once more."""
LOADABLE_WEIGHTS = frozenset({".bin", ".pt"})
"""Those of them that a server loads where there are no safetensors."""
BESIDE_WEIGHTS = frozenset({".jinja", ".json", ".model", ".py", ".tiktoken", ".txt"})
"""Configuration, tokenizer, chat template, the model's own code."""


class File(NamedTuple):
    """A file of the listing; `digest` is "kind:hexadecimal", or "-" where the listing has none."""

    bytes: int
    digest: str
    path: str

    @property
    def suffix(self) -> str:
        """As in ".json"."""
        return PurePosixPath(self.path).suffix


def on_the_hub(listing: dict[str, Any]) -> Iterator[File]:
    """Large files have a SHA-256, the others git's own digest."""
    for sibling in listing["siblings"]:
        large = sibling.get("lfs")
        digest = f"sha256:{large['sha256']}" if large else f"git:{sibling['blobId']}"
        yield File(sibling["size"], digest, sibling["rfilename"])


def in_s3(listing: dict[str, Any], prefix: str) -> Iterator[File]:
    """Objects that are no mere folders; S3 tells a digest for each object alone."""
    for found in listing.get("Contents") or []:
        path = found["Key"][len(prefix) :]
        if path and not path.endswith("/"):
            yield File(found["Size"], "-", path)


def check_path(path: str) -> None:
    """Leave where a path would lead out of the model's directory, or be more than one line of the answer."""
    if not path.isprintable() or path.startswith("/") or ".." in PurePosixPath(path).parts:
        sys.exit(f"the listing names a file that is none of a model: {path!r}")


def wanted(files: list[File]) -> list[File]:
    """Weights in one format, and what lies beside them; the largest first, so that none is fetched alone at the end."""
    safe = [file for file in files if file.suffix == SAFE_WEIGHTS]
    # The same weights once more, for another library; loaders take those that the index names.
    sharded = [file for file in safe if not PurePosixPath(file.path).name.startswith("consolidated")]
    weights = sharded or safe or [file for file in files if file.suffix in LOADABLE_WEIGHTS]
    if not weights:
        sys.exit("no weights in a format that a server loads")
    beside = [file for file in files if file.suffix in BESIDE_WEIGHTS]
    return sorted(weights + beside, key=lambda file: (-file.bytes, file.path))


def main(prefix: str) -> None:
    """Print the listing of what is wanted."""
    listing = json.load(sys.stdin)
    files = list(on_the_hub(listing) if "siblings" in listing else in_s3(listing, prefix))
    print(listing.get("sha", "-"))
    for file in wanted(files):
        check_path(file.path)
        print(file.bytes, file.digest, quote(file.path), file.path, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1])
