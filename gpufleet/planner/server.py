"""The server of a replica: image, arguments, ports. It runs with the plan's own numbers.

Owns the command line and the refusal of user arguments that contradict it. Leaves the numbers to `sizing`, and an
engine's constants to `engines`.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from gpufleet.planner.arguments import argument_pairs
from gpufleet.planner.engines import load_arguments
from gpufleet.planner.errors import Problem
from gpufleet.planner.plan import Notice, Proxy, Server
from gpufleet.planner.requirements import Model, Requirements
from gpufleet.planner.sizing import ReplicaSize, ReplicaSizer
from gpufleet.planner.timing import longest_request_seconds

PROXY_IMAGE = "public.ecr.aws/docker/library/haproxy:3.0-alpine"
"""HAProxy's long-term line; it balances by open requests and answers health by the number of live servers."""

MODEL_DIRECTORY = "/models"
"""Where weights fetched by the host are mounted in the container."""

HF_TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables in which servers, and an instance that fetches the weights for them, look for a token of Hugging Face."""

KEEP_ALIVE_MARGIN_SECONDS = 10

ALIASES = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-q": "--quantization",
    "--max-seq-len": "--max-model-len",
}
"""Other spellings that vLLM takes for a planned argument."""

TAKING_WORDS = ("--lora-target-modules",)
"""Arguments that take every word up to the next one."""

UNPLANNED_GPUS = ("--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp", "--nnodes")
"""Arguments that take further GPUs than the plan gave the replica."""


UNPLANNED_MEMORY = {
    "--enable-lora": "model.lora",
    "--max-loras": "model.lora.resident",
    "--max-lora-rank": "model.lora.rank",
    "--lora-target-modules": "model.lora.targets",
    "--speculative-config": "model.draft",
    "--speculative-model": "model.draft",
}
"""Arguments that take memory that the plan did not count, with the key that counts it."""


class Argument(NamedTuple):
    """One argument of the server with its value, as planned."""

    flag: str
    value: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The words of the command line; a flag may stand alone, or take several words."""
        if self.flag in TAKING_WORDS:
            return (self.flag, *self.value.split())
        return (self.flag, self.value) if self.value else (self.flag,)


def plan_server(requirements: Requirements, sizer: ReplicaSizer, size: ReplicaSize, *, replicas: int) -> Server:
    """The server of every replica on an instance. Each listens on `serving.port` inside its container."""
    serving = requirements.serving
    ports = (serving.port,) if replicas == 1 else tuple(serving.port + 1 + i for i in range(replicas))
    if is_users_own(sizer):
        return _users_own(requirements, sizer, ports)
    planned = _arguments(requirements, sizer, size)
    command = [part for argument in planned for part in argument.parts]
    return Server(
        engine=sizer.engine.name,
        engine_version=sizer.engine_version,
        image=serving.image or sizer.engine.image.format(version=sizer.engine_version),
        command=(*command, *serving.args),
        environment=dict(sorted((_keep_alive(requirements, sizer) | serving.environment).items())),
        secrets=dict(sorted(serving.secrets.items())),
        port=serving.port,
        replica_ports=ports,
        health_path=serving.health_path,
        max_model_len=sizer.max_model_len,
        max_num_seqs=size.max_num_seqs,
        max_num_batched_tokens=_batched_tokens(size),
        gpu_memory_utilization=sizer.gpu_memory_utilization,
        kv_cache_dtype=serving.kv_cache_dtype,
    )


def is_users_own(sizer: ReplicaSizer) -> bool:
    """Whether the server is the user's own image, of which nothing is known but its port and its health path."""
    return not sizer.engine.image


def _users_own(requirements: Requirements, sizer: ReplicaSizer, ports: tuple[int, ...]) -> Server:
    """The image runs with the user's arguments and variables alone."""
    serving = requirements.serving
    assert serving.image is not None, "it was required"
    return Server(
        engine=sizer.engine.name,
        engine_version=sizer.engine_version,
        image=serving.image,
        command=serving.args,
        environment=dict(sorted(serving.environment.items())),
        secrets=dict(sorted(serving.secrets.items())),
        port=serving.port,
        replica_ports=ports,
        health_path=serving.health_path,
        max_model_len=None,
        max_num_seqs=None,
        max_num_batched_tokens=None,
        gpu_memory_utilization=sizer.gpu_memory_utilization,
        kv_cache_dtype=None,
    )


def _batched_tokens(size: ReplicaSize) -> int:
    assert size.shape is not None, "a choice was sized"
    return size.shape.max_num_batched_tokens


def _keep_alive(requirements: Requirements, sizer: ReplicaSizer) -> dict[str, str]:
    return {sizer.engine.keep_alive_variable: str(longest_request_seconds(requirements) + KEEP_ALIVE_MARGIN_SECONDS)}


def plan_proxy(requirements: Requirements, *, replicas: int) -> Proxy | None:
    """The proxy in front of several replicas; one replica needs none."""
    return Proxy(image=PROXY_IMAGE, port=requirements.serving.port) if replicas > 1 else None


def argument_problems(requirements: Requirements, sizer: ReplicaSizer, size: ReplicaSize) -> list[Problem]:
    """Every argument of the user's that contradicts the plan. One that repeats the plan's value is harmless."""
    if is_users_own(sizer):
        return []
    planned = {a.flag: a.value for a in _arguments(requirements, sizer, size)}
    problems = []
    for flag, value in argument_pairs(requirements.serving.args):
        path = f"serving.args ({flag})"
        full = _planned_flag(flag, planned)
        if flag in UNPLANNED_GPUS and full is None and value != "1":
            problems.append(
                Problem(
                    path=path,
                    message="takes GPUs that the plan does not give the replica",
                    given=f"{flag} {value}".strip(),
                    allowed="model.tensorParallelism, model.pipelineParallelism and, for mixtures of experts, model.dataParallelism",
                    next_step="remove it; replicas of a dense model are those that scaling.min and scaling.max count",
                )
            )
            continue
        if flag in UNPLANNED_MEMORY and full is None and not _guesses_by_ngram(value):
            key = UNPLANNED_MEMORY[flag]
            problems.append(
                Problem(
                    path=path,
                    message="takes GPU memory that the plan did not count",
                    given=f"{flag} {value}".strip(),
                    allowed=f"the same by {key}, which is counted and becomes an argument",
                    next_step=f"remove it and set {key}",
                )
            )
            continue
        if full and value != planned[full]:
            problems.append(
                Problem(
                    path=path,
                    message=f"contradicts the plan, which starts the server with {full} {planned[full]}".rstrip(),
                    given=f"{flag} {value}".strip(),
                    allowed=f"{full} {planned[full]}, or nothing".replace(" ,", ","),
                    next_step=f"remove it; {_KEYS.get(full, 'the plan')} decides",
                )
            )
    return problems


def _guesses_by_ngram(value: str) -> bool:
    """Whether a speculative configuration looks tokens up in the prompt, which takes no weights and no cache."""
    return '"ngram"' in value


_KEYS = {
    "--model": "model.source",
    "--revision": "model.source",
    "--served-model-name": "model.id",
    "--dtype": "model.precision",
    "--quantization": "model.precision",
    "--tensor-parallel-size": "model.tensorParallelism",
    "--pipeline-parallel-size": "model.pipelineParallelism",
    "--data-parallel-size": "model.dataParallelism",
    "--max-num-batched-tokens": "serving.maxNumBatchedTokens",
    "--max-model-len": "serving.maxModelLen",
    "--max-num-seqs": "serving.maxNumSeqs",
    "--gpu-memory-utilization": "serving.gpuMemoryUtilization",
    "--kv-cache-dtype": "serving.kvCacheDtype",
    "--port": "serving.port",
    "--max-loras": "model.lora.resident",
    "--max-lora-rank": "model.lora.rank",
    "--lora-target-modules": "model.lora.targets",
    "--speculative-config": "model.draft",
}


def _arguments(requirements: Requirements, sizer: ReplicaSizer, size: ReplicaSize) -> list[Argument]:
    serving = requirements.serving
    load = load_arguments(sizer.engine, size.precision, sizer.architecture)
    stages, tokens = size.pipeline_parallelism, serving.max_num_batched_tokens
    _, revision = requirements.model.repository
    return [
        Argument(flag="--model", value=_model_path(requirements)),
        *([Argument(flag="--revision", value=revision)] if revision else []),
        Argument(flag="--served-model-name", value=requirements.model.id),
        *([Argument(flag=load[0], value=load[1])] if load else []),
        Argument(flag="--tensor-parallel-size", value=str(size.tensor_parallelism)),
        *([Argument(flag="--pipeline-parallel-size", value=str(stages))] if stages > 1 else []),
        *_ranks(size.data_parallelism),
        Argument(flag="--max-model-len", value=str(sizer.max_model_len)),
        Argument(flag="--max-num-seqs", value=str(size.max_num_seqs)),
        *([Argument(flag="--max-num-batched-tokens", value=str(tokens))] if tokens else []),
        *_additions(requirements.model),
        Argument(flag="--gpu-memory-utilization", value=f"{sizer.gpu_memory_utilization:g}"),
        Argument(flag="--kv-cache-dtype", value=sizer.engine.cache_types[serving.kv_cache_dtype].argument),
        Argument(flag="--port", value=str(serving.port)),
    ]


def _ranks(degree: int) -> Iterator[Argument]:
    """Data parallelism, whose ranks share the experts."""
    if degree > 1:
        yield Argument(flag="--data-parallel-size", value=str(degree))
        yield Argument(flag="--enable-expert-parallel", value="")


def _additions(model: Model) -> Iterator[Argument]:
    """Adapters and a draft."""
    if model.lora is None and model.draft is None:
        return
    from gpufleet.planner.addition_keys import draft_keys, lora_keys

    if (lora := lora_keys(model)) is not None:
        yield Argument(flag="--enable-lora", value="")
        yield Argument(flag="--max-loras", value=str(lora.resident))
        yield Argument(flag="--max-lora-rank", value=str(lora.rank))
        if lora.targets:
            yield Argument(flag="--lora-target-modules", value=" ".join(lora.targets))
    if (draft := draft_keys(model)) is not None:
        asked: dict[str, str | int] = {} if draft.id is None else {"model": draft.id}
        if draft.method != "draftModel":
            asked["method"] = draft.method
        asked["num_speculative_tokens"] = draft.tokens
        yield Argument(flag="--speculative-config", value=json.dumps(asked))


def _model_path(requirements: Requirements) -> str:
    source = requirements.model.weights_source
    if source.startswith("s3://"):
        return f"{MODEL_DIRECTORY}/{requirements.model.id}"
    if source.startswith("image:"):
        return source.removeprefix("image:")
    return requirements.model.repository[0] or requirements.model.id


def downloads(requirements: Requirements, sizer: ReplicaSizer) -> tuple[str, ...]:
    """Addresses of what must be on disk before the server starts: the model, and a draft with weights of its own."""
    model = requirements.model
    is_fetched = model.weights_source.startswith("s3://") or (model.repository[0] and not is_users_own(sizer))
    found = [model.weights_source] if is_fetched else []
    if model.draft is not None and not is_users_own(sizer):
        from gpufleet.planner.addition_keys import draft_keys

        draft = draft_keys(model)
        if draft is not None and draft.id is not None:
            found.append(f"hf://{draft.id}")
    return tuple(found)


def _planned_flag(flag: str, planned: dict[str, str]) -> str | None:
    """The planned flag that vLLM's parser would take `flag` for: itself, an alias, or the one that it abbreviates."""
    flag = ALIASES.get(flag, flag)
    if flag in planned:
        return flag
    if flag in ("--dtype", "--quantization"):
        return None
    abbreviated = [name for name in planned if flag.startswith("--") and len(flag) > 4 and name.startswith(flag)]
    return abbreviated[0] if len(abbreviated) == 1 else None


def load_problem(sizer: ReplicaSizer, precision: str) -> Notice | None:
    """Why the server would not load the checkpoint in this precision; None where it would."""
    architecture, engine, model_id = sizer.architecture, sizer.engine, sizer.requirements.model.id
    if is_users_own(sizer):
        return None
    if load_arguments(engine, precision, architecture):
        return None
    stored = architecture.checkpoint_format
    is_kept = stored and (
        stored not in engine.made_at_load or (stored != precision and architecture.quantization_method)
    )
    if is_kept:
        return Notice(
            path="model.precision",
            message=f"model.precision is {precision}, and the checkpoint of {model_id} is stored as {stored}: {engine.name} "
            "loads that as it is",
            next_step=f"name a checkpoint published in {precision}, or set model.precision to {stored}",
            is_refusal=True,
        )
    known = f"stored as {stored}" if stored else "not known to be stored so"
    made = ", ".join(sorted(engine.made_at_load))
    return Notice(
        path="model.precision",
        message=f"model.precision is {precision}, and the checkpoint of {model_id} is {known}: {engine.name} makes only "
        f"{made} (int4 by bitsandbytes) while loading",
        next_step=f"name a checkpoint published in {precision} and give its config.json, with its quantization_config, as "
        "model.architecture",
        is_refusal=True,
    )
