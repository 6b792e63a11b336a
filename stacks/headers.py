"""Reads the headers of weight files: safetensors, with their index, and GGUF. Never the weights themselves.

Owns the two formats' headers and what is refused in them: every number in a file is bounded before it is believed. Both
ways end in the same plain mapping, which `gpufleet.planner.models.files` understands. Leaves to `config` which file is
meant and how a problem is named.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

LONGEST_HEADER = 100 * 1024**2
"""Bytes. The safetensors library has the same limit; a GGUF's largest part is its vocabulary, a few MiB."""
MOST_TENSORS = 500_000
MOST_FILES = 2_000
MOST_VALUES = 100_000
MOST_DIMENSIONS = 8
LARGEST_DIMENSION = 1 << 40

INDEX = "model.safetensors.index.json"
CONFIG = "config.json"

_GGUF_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_GGUF_STRING, _GGUF_ARRAY = 8, 9
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_PART_OF = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf")


class HeaderError(ValueError):
    """A file that is no weight file, or a damaged one; says what is wrong with it."""


class Tensor(NamedTuple):
    """One tensor as the header has it. `type` is the format's own name (BF16, I32) or number (GGUF)."""

    name: str
    type: str | int
    shape: tuple[int, ...]


def read_weights(path: Path) -> dict[str, Any]:
    """What the headers say: `tensors` (folded, see `_folded`), and `config` from the config.json beside safetensors files
    or `gguf` with a GGUF's own metadata. Of a directory without weights its config.json alone. Raises HeaderError, or
    OSError where a file cannot be read."""
    if path.suffix == ".gguf":
        return _read_gguf(path)
    directory = path if path.is_dir() else path.parent
    config = _read_json(directory / CONFIG, "a Hugging Face config.json must lie beside the weights")
    if path.is_dir() and not (path / INDEX).is_file() and not any(path.glob("*.safetensors")):
        return config
    tensors = [tensor for file in _shards(path) for tensor in _safetensors(file)]
    return {"config": config, "tensors": _folded(tensors)}


def _read_json(path: Path, needed: str) -> dict[str, Any]:
    if not path.is_file():
        raise HeaderError(f"{path.name} is missing: {needed}")
    if path.stat().st_size > LONGEST_HEADER:
        raise HeaderError(f"{path.name} is larger than {LONGEST_HEADER:,} bytes")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise HeaderError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise HeaderError(f"{path.name} holds no mapping")
    return found


def _folded(tensors: Iterable[Tensor]) -> list[list[Any]]:
    """Tensors that differ in the numbers of their names alone, in one row each: name with # for numbers, type, shape, the
    first numbers (layers), and how many there are of each layer (experts)."""
    rows: dict[tuple[str, str | int, tuple[int, ...]], dict[int, int]] = {}
    for tensor in tensors:
        numbers = _NUMBER.findall(tensor.name)
        layer = int(numbers[0]) if numbers and len(numbers[0]) < 7 else -1
        row = rows.setdefault((_NUMBER.sub("#", tensor.name), tensor.type, tensor.shape), {})
        row[layer] = row.get(layer, 0) + 1
    found = []
    for (name, kind, shape), layers in rows.items():
        for each in sorted(set(layers.values())):
            found.append([name, kind, list(shape), sorted(n for n, c in layers.items() if c == each), each])
    return found


# safetensors ----------------------------------------------------------------------------------------------------------


def _shards(path: Path) -> list[Path]:
    """The files of a checkpoint: the one that is named, those of an index, or all that lie in a directory."""
    if path.suffix == ".safetensors":
        return [path]
    directory = path if path.is_dir() else path.parent
    index = directory / INDEX
    if not index.is_file():
        files = sorted(directory.glob("*.safetensors"))
        if not files:
            raise HeaderError("no safetensors file lies there")
        return files[:MOST_FILES]
    names = _read_json(index, "").get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise HeaderError(f"{INDEX} has no weight_map of file names")
    held = sorted(set(names.values()))
    if not 0 < len(held) <= MOST_FILES:
        raise HeaderError(f"{INDEX} names {len(held)} files")
    for name in held:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise HeaderError(f"{INDEX} names a file that is not beside it: {name[:80]}")
        if not (directory / name).is_file():
            raise HeaderError(f"{name} is missing, which {INDEX} names")
    return [directory / name for name in held]


def _safetensors(path: Path) -> Iterator[Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise HeaderError(f"{path.name} is no safetensors file: it ends within its first 8 bytes")
        length = struct.unpack("<Q", start)[0]
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise HeaderError(f"{path.name} is damaged: a header of {length:,} bytes in a file of {size:,}")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise HeaderError(f"{path.name} is damaged: its header is not JSON") from None
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        raise HeaderError(f"{path.name} is damaged: its header is no mapping of tensors")
    for name, entry in header.items():
        if name != "__metadata__":
            yield _entry(path, name, entry)


def _entry(path: Path, name: str, entry: Any) -> Tensor:
    kind, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise HeaderError(f"{path.name} is damaged: the tensor {name[:80]} has no type or shape")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= LARGEST_DIMENSION for n in shape):
        raise HeaderError(f"{path.name} is damaged: the tensor {name[:80]} has the shape {str(shape)[:80]}")
    return Tensor(name, kind, tuple(shape))


# GGUF -----------------------------------------------------------------------------------------------------------------


def _read_gguf(path: Path) -> dict[str, Any]:
    """All parts of a split file, whichever is named; the metadata is the first part's."""
    files = [path]
    if part := _PART_OF.fullmatch(path.name):
        count = int(part["count"])
        if not 0 < count <= MOST_FILES:
            raise HeaderError(f"{path.name} is one of {count} files")
        files = [path.with_name(f"{part['stem']}-{i:05d}-of-{count:05d}.gguf") for i in range(1, count + 1)]
    metadata: dict[str, Any] = {}
    tensors: list[Tensor] = []
    for file in files:
        if not file.is_file():
            raise HeaderError(f"{file.name} is missing")
        found, held = _Gguf(file).read()
        metadata, tensors = metadata or found, tensors + held
    return {"gguf": metadata, "tensors": _folded(tensors)}


class _Gguf:
    """A reader of one GGUF header that never reads more than LONGEST_HEADER bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.taken = path, path.stat().st_size, 0
        self.file: BinaryIO

    def read(self) -> tuple[dict[str, Any], list[Tensor]]:
        """The metadata (of arrays their length, or the values of short ones of numbers) and the tensors."""
        with self.path.open("rb") as self.file:
            if self._take(4) != b"GGUF":
                raise HeaderError(f"{self.path.name} is no GGUF file")
            version = self._number("<I")
            if version not in (2, 3):
                raise HeaderError(f"{self.path.name} is a GGUF file of version {version}; versions 2 and 3 are read")
            tensors, values = self._count(MOST_TENSORS), self._count(MOST_VALUES)
            metadata = {}
            for _ in range(values):
                name = self._text()
                metadata[name] = self._value(self._number("<I"))
            return metadata, [self._tensor() for _ in range(tensors)]

    def _take(self, count: int) -> bytes:
        self.taken += count
        if self.taken > LONGEST_HEADER:
            raise HeaderError(f"{self.path.name} is damaged: its header is longer than {LONGEST_HEADER:,} bytes")
        found = self.file.read(count)
        if len(found) < count:
            raise HeaderError(f"{self.path.name} ends within its header: it is truncated or damaged")
        return found

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _count(self, most: int) -> int:
        count = self._number("<Q")
        if count > most:
            raise HeaderError(f"{self.path.name} is damaged: it counts {count:,} of what has at most {most:,}")
        return int(count)

    def _text(self) -> str:
        return self._take(self._count(LONGEST_HEADER)).decode("utf-8", errors="replace")

    def _value(self, kind: int) -> Any:
        if kind in _GGUF_SCALARS:
            return self._number(_GGUF_SCALARS[kind])
        if kind == _GGUF_STRING:
            return self._text()
        if kind != _GGUF_ARRAY:
            raise HeaderError(f"{self.path.name} is damaged: a value of type {kind}")
        inner, count = self._number("<I"), self._count(LONGEST_HEADER)
        if inner == _GGUF_STRING:
            for _ in range(count):
                self._take(self._count(LONGEST_HEADER))
            return {"count": count}
        if inner not in _GGUF_SCALARS:
            raise HeaderError(f"{self.path.name} is damaged: an array of type {inner}")
        form = _GGUF_SCALARS[inner]
        if count <= 1024:
            return [self._number(form) for _ in range(count)]
        self._take(count * struct.calcsize(form))
        return {"count": count}

    def _tensor(self) -> Tensor:
        name, dimensions = self._text(), self._number("<I")
        if dimensions > MOST_DIMENSIONS:
            raise HeaderError(f"{self.path.name} is damaged: the tensor {name[:80]} has {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))
        if any(n > LARGEST_DIMENSION for n in shape):
            raise HeaderError(f"{self.path.name} is damaged: the tensor {name[:80]} has the shape {shape}")
        kind = self._number("<I")
        self._number("<Q")  # its offset
        return Tensor(name, int(kind), shape)
