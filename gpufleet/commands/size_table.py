"""A replica's size as text for a terminal: on one card part by part, or a line for each card."""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet.commands.layout import billions, bullets, columns, indented
from gpufleet.commands.memory_table import describe_host, describe_image, memory_sections
from gpufleet.planner.plan import PerGpuMemory
from gpufleet.planner.size import Size


def describe_size(size: Size) -> str:
    """One card: what was sized, the memory of a GPU part by part, and the verdict."""
    sections = [columns(_heading(size))]
    if size.memory:
        per_gpu = size.memory.per_gpu
        utilization = size.server.gpu_memory_utilization if size.server else per_gpu.budget_gib / per_gpu.usable_gib
        sections += memory_sections(size.memory, round(utilization, 4), size.gpu.name or "card")
    sections.append(f"{'Fits' if size.fits else 'Does not fit'}\n" + indented(bullets(size.reasons)))
    for title, lines in (("Assumptions", size.model.assumptions), ("Warnings", size.warnings)):
        if lines:
            sections.append(f"{title}\n" + indented(bullets(lines)))
    return "\n\n".join(sections)


def describe_sizes(sizes: Sequence[Size]) -> str:
    """Every card in a line, with the smallest parallelism that fits, or the largest that was tried."""
    first = sizes[0]
    if any(size.memory and size.memory.pipeline for size in sizes):
        return _describe_pipelines(sizes)
    rows: list[tuple[str, ...]] = [
        ("GPU", "USABLE", "FITS", "TP", "WEIGHTS", "RUNTIME", "KV CACHE", "TOKENS", "CONTEXTS", "WHY NOT")
    ]
    for size in sizes:
        memory = size.memory
        cells = _cells(memory.per_gpu) if memory else ("-",) * 3
        counts = (f"{memory.kv_cache_tokens:,}", str(memory.full_contexts)) if memory else ("-", "-")
        rows.append(
            (
                size.gpu.name or "-",
                f"{size.gpu.memory_mib / 1024:.2f}",
                "yes" if size.fits else "no",
                str(size.tensor_parallelism),
                *cells,
                *counts,
                "" if size.fits else size.reasons[0],
            )
        )
    heading = columns(
        [
            row
            for row in _heading(first)
            if row[0] not in ("GPU:", "Replica:", "Server:", "Context:", "At once:", "Host:")
        ]
    )
    title = "GiB per GPU; TP is the smallest tensor parallelism that fits, or the largest that was tried"
    return f"{heading}\n\n{title}\n{indented(columns(rows, right=range(1, 9)))}"


def _describe_pipelines(sizes: Sequence[Size]) -> str:
    """A diffusion pipeline on every card."""
    rows: list[tuple[str, ...]] = [("GPU", "USABLE", "FITS", "PRECISION", "WEIGHTS", "RUNTIME", "BUDGET", "WHY NOT")]
    for size in sizes:
        memory = size.memory.per_gpu if size.memory else None
        cells = (*_cells(memory)[:2], f"{memory.budget_gib:.2f}") if memory else ("-",) * 3
        rows.append(
            (
                size.gpu.name or "-",
                f"{size.gpu.memory_mib / 1024:.2f}",
                "yes" if size.fits else "no",
                size.model.precision,
                *cells,
                "" if size.fits else "; ".join(size.reasons[:2]),
            )
        )
    largest = next(size for size in reversed(sizes) if size.memory)
    heading = columns([row for row in _heading(largest) if row[0] in ("Model:", "Image:")])
    return f"{heading}\n\nGiB on the GPU in the largest phase\n{indented(columns(rows, right={1, 4, 5, 6}))}"


def _heading(size: Size) -> list[tuple[str, ...]]:
    model, server = size.model, size.server
    rows: list[tuple[str, ...]] = [
        ("Model:", f"{model.id}, {billions(model.parameters)} parameters, {model.precision}"),
        ("GPU:", f"{size.gpu.name or 'unnamed'}, {size.gpu.memory_mib:,} MiB usable"),
        (
            "Replica:",
            f"tensor parallelism {size.tensor_parallelism}, pipeline parallelism {size.pipeline_parallelism}"
            + (f", data parallelism {size.data_parallelism}" if size.data_parallelism > 1 else ""),
        ),
    ]
    if server:
        rows.append(
            (
                "Server:",
                f"{server.engine} {server.engine_version}, context {server.max_model_len:,}, at most {server.max_num_seqs} "
                f"sequences and {server.max_num_batched_tokens:,} tokens in a step",
            )
        )
    if size.memory and size.memory.pipeline:
        rows.append(("Image:", describe_image(size.memory.pipeline)))
    elif size.memory:
        rows.append(
            (
                "Context:",
                f"the cache has room for {size.memory.kv_cache_tokens:,} tokens = {size.memory.full_contexts} full contexts "
                f"({size.memory.kv_bytes_per_token:,} bytes per token)",
            )
        )
    if size.memory and size.sequences:
        counts = ", ".join(f"{s.count:,} of {s.tokens:,} tokens" for s in size.sequences)
        rows.append(("At once:", f"{counts}; the longest that fits alone has {size.memory.longest_context:,}"))
    if size.host:
        rows.append(("Host:", describe_host(size.host)))
    return rows


def _cells(per_gpu: PerGpuMemory) -> tuple[str, ...]:
    runtime = per_gpu.total_gib - per_gpu.weights_gib
    return f"{per_gpu.weights_gib:.2f}", f"{runtime:.2f}", f"{per_gpu.kv_cache_gib:.2f}"
