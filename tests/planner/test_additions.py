"""Adapters and drafts: what a server holds beside the model, on each GPU and in the cache."""

from __future__ import annotations

from typing import Any

import pytest
from documents import plan

from gpufleet.planner.addition_keys import Draft, Lora
from gpufleet.planner.additions import with_draft, with_lora
from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.stages import pipeline_stages
from gpufleet.planner.weights import checkpoint_bytes, weights_bytes_per_gpu

GIB = 1024**3


def model(model_id: str) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=None, config=None)


def gib(architecture: Architecture, degree: int = 1) -> float:
    return weights_bytes_per_gpu(architecture, "bf16", degree) / GIB


def lora(**keys: Any) -> Lora:
    return Lora.model_validate(keys)


def draft(**keys: Any) -> Draft:
    return Draft.model_validate(keys)


class TestAdapters:
    # Of Llama-3.1-8B, per rank: A maps 4,096 inputs for Q, K and V, B makes 4,096 + 2 × 1,024 outputs, and so on.
    PER_RANK = 32 * ((3 * 4096 + 6144) + (4096 + 4096) + (2 * 4096 + 2 * 14336) + (14336 + 4096))
    ENDS = 2 * (128_256 + 4096)

    def added(self, degree: int = 1, **keys: Any) -> float:
        """Bytes that the room for adapters takes."""
        bare, full = (gib(a, degree) for a in (self.llama, with_lora(self.llama, lora(**keys))))
        return (full - bare) * GIB

    llama = model("meta-llama/Llama-3.1-8B")

    def test_room_is_made_at_every_layer(self) -> None:
        assert self.added(rank=16, resident=1) == pytest.approx(2 * 16 * (self.PER_RANK + self.ENDS), rel=0.01)

    def test_a_logged_start_with_adapters_lies_near_rank_16(self) -> None:
        """8.6253 GiB (M154 of the measured rows); its rank is not told, and 16 is the server's default."""
        phi = resolve_architecture(
            model_id="microsoft/phi-4", parameters=None, config=None, precision="int4", quantization="bitsandbytes"
        )
        loaded = weights_bytes_per_gpu(with_lora(phi, lora(rank=16)), "int4", 1, (0, 8)) / GIB
        assert loaded == pytest.approx(8.6253, rel=0.01)

    def test_it_grows_with_rank_and_with_adapters(self) -> None:
        assert self.added(rank=64, resident=4) == pytest.approx(16 * self.added(rank=16, resident=1), rel=0.02)

    def test_one_side_of_each_is_split_among_gpus(self) -> None:
        split = 32 * (6144 + 4096 + 2 * 14336 + 14336) + 128_256
        whole = 32 * (3 * 4096 + 4096 + 2 * 4096 + 4096) + 128_256 + 2 * 4096
        assert self.added(4, rank=16) == pytest.approx(2 * 16 * (split / 4 + whole), rel=0.01)

    def test_targets_narrow_it(self) -> None:
        attention = 2 * 16 * 32 * ((3 * 4096 + 6144) + (4096 + 4096))
        assert self.added(rank=16, targets=("qkv_proj", "o_proj")) == pytest.approx(attention, rel=0.01)

    def test_experts_have_room_each(self) -> None:
        mixtral = model("mistralai/Mixtral-8x7B-v0.1")
        per_rank = 32 * 8 * ((2 * 4096 + 2 * 14336) + (14336 + 4096))
        more = gib(with_lora(mixtral, lora(rank=8, targets=("experts",)))) - gib(mixtral)
        assert more * GIB == pytest.approx(2 * 8 * per_rank, rel=0.01)

    def test_they_are_not_on_disk_and_do_not_count_as_parameters(self) -> None:
        full = with_lora(self.llama, lora(rank=64))
        assert checkpoint_bytes(full) == checkpoint_bytes(self.llama)
        assert full.parameters == self.llama.parameters

    @pytest.mark.parametrize(
        ("keys", "path"), [({"rank": 24}, "model.lora.rank"), ({"targets": ("attention",)}, "model.lora.targets")]
    )
    def test_what_the_server_does_not_know_is_refused(self, keys: dict[str, Any], path: str) -> None:
        with pytest.raises(RequirementError) as caught:
            with_lora(self.llama, lora(**keys))
        assert caught.value.problems[0].path == path

    def test_layers_that_are_not_described_are_no_guess(self) -> None:
        with pytest.raises(RequirementError, match=r"model\.lora: what adapters take cannot be counted"):
            with_lora(model("openai/whisper-large-v3"), lora())


class TestDrafts:
    target = model("Qwen/Qwen3-32B")

    def test_a_draft_model_is_held_whole(self) -> None:
        small = model("Qwen/Qwen3-0.6B")
        full = with_draft(self.target, draft(id="Qwen/Qwen3-0.6B"))
        assert gib(full) - gib(self.target) == pytest.approx(gib(small), rel=0.05)
        assert checkpoint_bytes(full) == pytest.approx(
            checkpoint_bytes(self.target) + checkpoint_bytes(small), rel=0.01
        )
        assert [(g.layers, g.kv_heads) for g in full.cache] == [(64 + 28, 8)]

    def test_its_own_format_counts_whatever_the_targets(self) -> None:
        full = with_draft(model("Qwen/Qwen3-32B-AWQ"), draft(id="Qwen/Qwen3-0.6B"))
        more = weights_bytes_per_gpu(full, "int4", 1) - weights_bytes_per_gpu(model("Qwen/Qwen3-32B-AWQ"), "int4", 1)
        assert more / GIB == pytest.approx(gib(model("Qwen/Qwen3-0.6B")), rel=0.05)

    def test_the_checkpoints_own_layer(self) -> None:
        """DeepSeek-V3's prediction layer: 11.5 billion parameters of its own, by its README."""
        deepseek = model("deepseek-ai/DeepSeek-V3")
        full = with_draft(deepseek, draft(method="mtp"))
        assert sum(p.parameters for p in full.parts if p.name == "draft") == pytest.approx(11.5e9, rel=0.02)
        assert [g.layers for g in full.cache] == [62]
        assert checkpoint_bytes(full) == pytest.approx(checkpoint_bytes(deepseek), rel=0.01)
        assert full.assumptions == deepseek.assumptions

    def test_a_checkpoint_that_is_not_known_to_have_it_is_said_to_be_taken_so(self) -> None:
        assert "a prediction layer of its own" in with_draft(self.target, draft(method="mtp")).assumptions[-1]

    @pytest.mark.parametrize(("method", "parameters"), [("eagle", 0.55e9), ("eagle3", 0.75e9)])
    def test_a_head_is_one_layer(self, method: str, parameters: float) -> None:
        full = with_draft(self.target, draft(method=method, id="acme/head"))
        assert sum(p.parameters for p in full.parts if p.name == "draft") == pytest.approx(parameters, rel=0.15)
        assert [g.layers for g in full.cache] == [65]

    def test_it_lies_on_the_last_stage(self) -> None:
        first, *_, last = pipeline_stages(with_draft(self.target, draft(id="Qwen/Qwen3-0.6B")), 4)
        assert not any(p.name == "draft" for p in first.parts)
        assert any(p.name == "draft" for p in last.parts)

    @pytest.mark.parametrize(
        ("keys", "path"),
        [
            ({}, "model.draft.id"),
            ({"method": "eagle"}, "model.draft.id"),
            ({"id": "acme/unknown"}, "model.draft.parameters"),
            ({"id": "meta-llama/Llama-3.2-1B"}, "model.draft.id"),
        ],
    )
    def test_what_cannot_be_is_refused(self, keys: dict[str, Any], path: str) -> None:
        assert self.refusal(keys).path == path

    def refusal(self, keys: dict[str, Any]) -> Problem:
        with pytest.raises(RequirementError) as caught:
            with_draft(self.target, draft(**keys))
        return caught.value.problems[0]


class TestPlan:
    def test_the_server_is_told(self) -> None:
        found = plan(model={"lora": {"rank": 32, "resident": 2}, "draft": {"method": "mtp", "tokens": 2}})
        command = " ".join(found.server.command)
        assert "--enable-lora --max-loras 2 --max-lora-rank 32" in command
        assert '--speculative-config {"method": "mtp", "num_speculative_tokens": 2}' in command

    def test_it_takes_memory(self) -> None:
        bare, full = plan(), plan(model={"lora": {"rank": 64, "resident": 8}})
        assert full.memory.per_gpu.weights_gib > bare.memory.per_gpu.weights_gib + 0.5

    def test_targets_are_words_of_their_own(self) -> None:
        command = plan(model={"lora": {"targets": ["o_proj", "down_proj"]}}).server.command
        place = command.index("--lora-target-modules")
        assert command[place + 1 : place + 3] == ("o_proj", "down_proj")

    @pytest.mark.parametrize(
        ("args", "key"),
        [
            (["--enable-lora"], "model.lora"),
            (["--max_lora_rank", "64"], "model.lora.rank"),
            (["--speculative-config", '{"method": "eagle", "model": "acme/head"}'], "model.draft"),
        ],
    )
    def test_memory_that_was_not_counted_is_refused(self, args: list[str], key: str) -> None:
        with pytest.raises(RequirementError) as caught:
            plan(serving={"args": args})
        assert f"set {key}" in caught.value.problems[0].next_step

    def test_arguments_that_say_the_same_or_take_nothing_are_kept(self) -> None:
        same = plan(model={"lora": {"rank": 32}}, serving={"args": ["--enable-lora", "--max-lora-rank=32"]})
        assert same.server.command[-2:] == ("--enable-lora", "--max-lora-rank=32")
        guess = '{"method": "ngram", "num_speculative_tokens": 3}'
        assert plan(serving={"args": ["--speculative-config", guess]}).server.command[-1] == guess

    def test_a_contradicting_argument_is_refused(self) -> None:
        with pytest.raises(RequirementError, match=r"model\.lora\.rank decides"):
            plan(model={"lora": {"rank": 32}}, serving={"args": ["--max-lora-rank", "64"]})

    def test_everything_wrong_is_said_at_once(self) -> None:
        with pytest.raises(RequirementError) as caught:
            plan(model={"lora": {"rank": 24}, "draft": {"method": "eagel"}})
        assert [problem.path for problem in caught.value.problems] == ["model.lora.rank", "model.draft.method"]

    def test_unknown_keys_are_refused(self) -> None:
        with pytest.raises(RequirementError) as caught:
            plan(model={"lora": {"ranks": 8}})
        assert caught.value.problems[0].path == "model.lora.ranks"
