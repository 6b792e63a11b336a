"""What a replica takes, as text: a GPU's memory part by part, a pipeline's phases, the host. Shared by `plan` and `size`.

Owns the layout. Computes nothing.
"""

from __future__ import annotations

from gpufleet.commands.layout import billions, columns, indented
from gpufleet.planner.plan import Host, Memory, PerGpuMemory, PipelineMemory


def describe_image(pipeline: PipelineMemory) -> str:
    """What a diffusion pipeline makes at once."""
    images = pipeline.images_per_prompt
    guided = "with" if pipeline.guidance else "without"
    return (
        f"{images} {'image' if images == 1 else 'images'} of {pipeline.width} x {pipeline.height} pixels at once, {guided} "
        f"classifier-free guidance, offload {pipeline.offload}"
    )


def describe_host(host: Host) -> str:
    """What a replica needs of the host."""
    parts = ", ".join(f"{part.name} {part.memory_mib:,}" for part in host.parts)
    return f"a replica needs {host.vcpu:g} vCPU and {host.memory_mib:,} MiB ({parts}), beside memory-mapped weights"


def memory_sections(memory: Memory, utilization: float, gpu: str) -> list[str]:
    """The memory of one GPU, and of a diffusion pipeline its phases and components."""
    if memory.pipeline is None:
        return [f"Memory per GPU (GiB)\n{indented(columns(memory_rows(memory.per_gpu, utilization, gpu), right={1}))}"]
    m, pipeline = memory.per_gpu, memory.pipeline
    several = len({component.pipeline for component in pipeline.components}) > 1
    sums = [
        ("weights", f"{m.weights_gib:.2f}", "on the GPU in the largest phase"),
        ("activations", f"{m.activations_gib:.2f}", "with what PyTorch's allocator cannot hand out"),
        ("CUDA context", f"{m.non_torch_gib:.2f}"),
        ("= total", f"{m.total_gib:.2f}", f"PyTorch alone: {pipeline.peak_allocated_gib:.2f} allocated, up to "
         f"{pipeline.peak_reserved_gib:.2f} reserved while there is room"),
        ("headroom", f"{m.headroom_gib:.2f}"),
        ("= budget", f"{m.budget_gib:.2f}", f"{utilization:g} x usable"),
        ("usable", f"{m.usable_gib:.2f}", f"what the driver reports for the {gpu}"),
    ]  # fmt: skip
    phases: list[tuple[str, ...]] = [("PHASE", "WEIGHTS", "ACTIVATIONS", "ALLOCATOR", "TOTAL")]
    phases += [
        (f"{p.name}, {p.pipeline}" if several else p.name,
         *(f"{gib:.2f}" for gib in (p.weights_gib, p.activations_gib, p.allocator_gib, p.total_gib)))
        for p in pipeline.phases
    ]  # fmt: skip
    parts: list[tuple[str, ...]] = [("COMPONENT", "PARAMETERS", "PRECISION", "GIB")]
    parts += [
        (f"{c.name}, {c.pipeline}" if several else c.name, billions(c.parameters), c.precision, f"{c.weights_gib:.2f}")
        for c in pipeline.components
    ]
    return [
        "Memory per GPU (GiB)\n" + indented(columns(sums, right={1})),
        "Phases (GiB; the total has the CUDA context too)\n" + indented(columns(phases, right={1, 2, 3, 4})),
        "Weights by component\n" + indented(columns(parts, right={1, 3})),
    ]


def memory_rows(memory: PerGpuMemory, utilization: float, gpu: str) -> list[tuple[str, ...]]:
    """The memory of one GPU, as the sums that lead from the weights to the card."""
    m = memory
    return [
        ("weights", f"{m.weights_gib:.2f}"),
        ("activations", f"{m.activations_gib:.2f}"),
        ("CUDA context, NCCL", f"{m.non_torch_gib:.2f}"),
        ("CUDA graphs", f"{m.cuda_graphs_gib:.2f}"),
        ("= total", f"{m.total_gib:.2f}"),
        ("KV cache", f"{m.kv_cache_gib:.2f}", f"{m.kv_needed_gib:.2f} needed, {m.headroom_gib:.2f} headroom"),
        ("= budget", f"{m.budget_gib:.2f}", f"{utilization:g} x usable"),
        ("usable", f"{m.usable_gib:.2f}", f"what the driver reports for the {gpu}"),
    ]
