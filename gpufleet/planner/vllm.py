"""vLLM's use of GPU memory by version: what its source says, and the few figures that only logs can give.

Owns the laws and the default batch sizes of vLLM. Leaves their meaning to `laws` and the arithmetic to `activations`,
`kv_cache` and `memory`. What is read from the source (vllm/v1/worker, vllm/v1/sample, vllm/v1/core/kv_cache_utils.py,
vllm/engine/arg_utils.py) says so; what was set on published logs names them (`tests/data/README.md`).
"""

from gpufleet.planner.laws import BatchRule, CardClass, Evidence, MemoryLaw, Sampler, SamplerChoice

# Samplers: what lives beside the logits when the profiling run samples for max_num_seqs sequences at once.
SORTING = Sampler(logit_bytes=36.0, state_bytes=0.0, scratch_rows=0)
"""Sorts every row: fp32 logits (4), sorted values (4), 64-bit indices (8), and inside of PyTorch's segmented sort as much
again beside the indices that it starts from (20). Logged: 4.76 GiB for 128,256 words and 1,024 sequences, 5.56 for 151,936,
7.38 for 201,088."""
SELECTING = Sampler(logit_bytes=12.0, state_bytes=0.0, scratch_rows=132)
"""Finds top-k and top-p without a sort (Triton): fp32 logits, probabilities and noise, 4 bytes each, and one row of logits
per multiprocessor (132 on H100). Logged: 2.21 GiB for 151,936 words."""
FLASHINFER = Sampler(logit_bytes=12.0, state_bytes=0.0, scratch_rows=0)
"""FlashInfer's kernels: fp32 logits, masked logits and probabilities."""
SECOND = Sampler(logit_bytes=4.0, state_bytes=4.125, scratch_rows=0)
"""The second model runner profiles without top-k and top-p: one fp32 copy. Beside it, a 32-bit count of every word's
occurrences and a bit for the prompt's words stay on the GPU for all sequences (worker/gpu/sample/penalties.py)."""
SECOND_IN_FULL = SECOND._replace(logit_bytes=12.0)
"""From 0.33 it profiles a second time with every parameter set."""

# Logs of these versions exist for the cards and degrees named.
HOPPER_LOGS = Evidence(frozenset({(9, 0)}), frozenset({1, 2, 4}))
OLDER_V1_LOGS = Evidence(frozenset({(9, 0)}), frozenset({1, 2}))
V0_LOGS = Evidence(frozenset({(7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (12, 0)}), frozenset({1, 2, 4}))

# Versions with the first engine (V0), on every card before 0.8 and on Volta and Turing until 0.10.
V0 = MemoryLaw(
    since=(0,), samplers=(SamplerChoice(SORTING, takes_all=True),), keeps_expert_workspace=False,
    images_fill_budget=False, video_frames=16, non_torch_gib=(0.1, 0.35, 0.4), stage_non_torch_gib=0.33, pcie_share=1.0,
    graph_base_gib=0.1, graph_gib_per_layer=0.005, graph_sizes=35, graphs_in_budget=False, outside_gib=(0.3, 0.4),
    even_groups_up_to=0.0, counts_tokens_by_context=False, counts_all_of_torch=False, evidence=V0_LOGS,
)  # fmt: skip

# 0.6.4 took for non-torch memory whatever was on the card, the driver's share included (0.44 and 0.73 GiB logged); so a
# virtual GPU, whose host keeps 4 GiB of it, could hold less than before.
V0_6_5 = V0._replace(since=(0, 6, 5))
V0_6_4 = V0._replace(since=(0, 6, 4), non_torch_gib=(0.5, 0.75, 0.8))

# V1: compiled, chunked. llm-d's table for 0.11 on H100: non-torch 0.13-0.14 GiB on one, 0.54-0.55 on two; 0.61 and 1.54 GiB
# were taken when the server measured first.
V1 = V0._replace(
    since=(0, 8), minimum_capability=(8, 0), images_fill_budget=True,
    non_torch_gib=(0.13, 0.55, 0.65), stage_non_torch_gib=0.07, graph_base_gib=0.3, graph_gib_per_layer=0.0157,
    graph_sizes=67, outside_gib=(0.6, 1.55), evidence=OLDER_V1_LOGS,
)  # fmt: skip

# 0.10 brought the cache manager for unlike layers, 0.12 its exception for kinds of nearly equal number.
V0_10 = V1._replace(since=(0, 10), even_groups_up_to=1.0)
V0_11 = V0_10._replace(since=(0, 11), minimum_capability=(0, 0), video_frames=14)  # the first engine is gone
V0_12 = V0_11._replace(since=(0, 12), even_groups_up_to=1.25, graph_sizes=51)

# 0.14 runs all fused experts as modular kernels, whose two buffers stay (v1/worker/workspace.py).
V0_14 = V0_12._replace(since=(0, 14), keeps_expert_workspace=True)

# 0.17 stopped sorting: Qwen3-14B fell from 5.64 to 2.23 GiB with all else equal. NCCL takes more on several GPUs (0.19 on
# H100: 2.06-2.10 GiB on two, 2.13-2.21 on four, beside 1.0 before the server measures), by buffers for NVLink's multicast.
# Where there is no NVLink no log says how much; a quarter is assumed, as much as NCCL's buffers took before.
V0_17 = V0_14._replace(
    since=(0, 17), samplers=(SamplerChoice(SELECTING, takes_all=True),), non_torch_gib=(0.13, 2.08, 2.15), pcie_share=0.25,
    graph_base_gib=0.4, outside_gib=(0.5, 1.55), evidence=HOPPER_LOGS,
)  # fmt: skip
V0_18 = V0_17._replace(since=(0, 18), non_torch_gib=(0.25, 2.08, 2.15), even_groups_up_to=1.5)

# Later versions change what the source shows below; no complete log of theirs was found, so 0.19's other figures are kept.
V0_20 = V0_18._replace(
    since=(0, 20),
    graphs_in_budget=True,
    counts_tokens_by_context=True,
    evidence=HOPPER_LOGS._replace(is_of_version=False),
)
V0_21 = V0_20._replace(since=(0, 21), samplers=(SamplerChoice(FLASHINFER, takes_all=True),))
# The second model runner, model by model (config/vllm.py).
V0_22 = V0_21._replace(
    since=(0, 22),
    samplers=(SamplerChoice(SECOND, frozenset({"qwen3"}), takes_quantized=False), *V0_21.samplers),
)
V0_23 = V0_22._replace(
    since=(0, 23),
    samplers=(SamplerChoice(SECOND, frozenset({"qwen3", "llama", "mistral"}), takes_quantized=False), *V0_21.samplers),
)
SECOND_RUNNER_EXPERTS = frozenset({"deepseek_v2", "qwen2_moe", "granitemoe"})
V0_24 = V0_23._replace(
    since=(0, 24),
    samplers=(SamplerChoice(SECOND, frozenset({"qwen3", "llama", "mistral"}) | SECOND_RUNNER_EXPERTS), *V0_21.samplers),
)
V0_25 = V0_24._replace(
    since=(0, 25), samplers=(SamplerChoice(SECOND, SECOND_RUNNER_EXPERTS, takes_dense=True), *V0_21.samplers)
)
V0_27 = V0_25._replace(since=(0, 27), counts_all_of_torch=True)
V0_29 = V0_27._replace(since=(0, 29), samplers=(SamplerChoice(SECOND, takes_all=True),))
V0_33 = V0_29._replace(since=(0, 33), samplers=(SamplerChoice(SECOND_IN_FULL, takes_all=True),))

LAWS = (
    V0_33, V0_29, V0_27, V0_25, V0_24, V0_23, V0_22, V0_21, V0_20, V0_18, V0_17, V0_14, V0_12, V0_11, V0_10, V1, V0_6_5,
    V0_6_4, V0,
)  # fmt: skip
"""Newest first."""

UTILIZATION_DEFAULTS = (((0, 20), 0.92), ((0,), 0.9))
"""vLLM's own gpu_memory_utilization from a version on (CacheConfig), newest first."""

ENCODER_DECODERS = {"whisper": None, "bart": (0, 11), "mbart": (0, 11)}
"""Types with an encoder beside the decoder that vLLM serves, with the version that dropped them: the first engine's went
with it, Whisper stayed (vllm-project/vllm, pull request 24907). T5's kind was never served."""

SMALL = CardClass(max_num_seqs=256, max_num_batched_tokens=2048)
LARGE = CardClass(max_num_seqs=1024, max_num_batched_tokens=8192, minimum_gib=70)
NOT_A100 = LARGE._replace(excluded=("A100",))
HUGE = CardClass(max_num_seqs=1024, max_num_batched_tokens=16_384, minimum_gib=160)
HOPPER = LARGE._replace(minimum_gib=0, only=("H100", "H200"))

BATCH_RULES = (
    BatchRule(since=(0, 28), classes=(HUGE, NOT_A100, SMALL)),
    BatchRule(since=(0, 11), classes=(NOT_A100, SMALL)),
    BatchRule(since=(0, 9), classes=(NOT_A100, SMALL), minimum_capability=(8, 0)),
    BatchRule(since=(0, 8, 5), classes=(LARGE, SMALL), minimum_capability=(8, 0)),
    BatchRule(since=(0, 8, 4), classes=(HOPPER, SMALL), minimum_capability=(8, 0)),
    BatchRule(since=(0, 8), classes=(HOPPER, SMALL._replace(max_num_seqs=1024)), minimum_capability=(8, 0)),
    BatchRule(since=(0, 6, 5), classes=(SMALL,), whole_prompts_up_to=32_768, image_tokens=5120),
    BatchRule(
        since=(0,), classes=(SMALL._replace(max_num_batched_tokens=512),), whole_prompts_up_to=32_768, image_tokens=4096
    ),
)
"""The API server's batch sizes (EngineArgs.get_batch_defaults), newest first. The first engine took a prompt of up to
32,768 tokens in one step, and chunked only longer ones of text alone."""
