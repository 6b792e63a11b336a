"""Diffusion pipelines on the command line: size, plan, check and init as a user runs them."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from gpufleet.cli import main
from stacks import config as stacks

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
IMAGE = "registry.example.com/sdxl-server:1.4"
DOCUMENT = {
    "region": "us-east-1",
    "model": {"id": SDXL, "precision": "fp16", "pipeline": {"controlNets": [{}]}},
    "serving": {"image": IMAGE, "diffusion": {"imagesPerPrompt": 2}},
    "scaling": {"min": 1, "max": 2},
}


@pytest.fixture
def file(tmp_path):
    """The document as a file."""
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT), encoding="utf-8")
    return str(path)


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_size_shows_phases_and_components(file):
    result = run("size", "-f", file, "--gpu", "T4")
    assert result.exit_code == 0, result.output
    for words in ("2 images of 1024 x 1024 pixels", "PHASE", "denoising", "decoding", "COMPONENT", "controlnet", "Does not fit",
                  "to make it fit, set serving.diffusion"):  # fmt: skip
        assert words in result.output
    assert "KV cache" not in result.output


def test_size_without_a_card_has_a_line_for_each(file):
    result = run("size", "-f", file)
    assert result.exit_code == 0, result.output
    assert "PRECISION" in result.output
    assert "to make it fit" in next(line for line in result.output.splitlines() if line.strip().startswith("T4 "))
    assert " yes " in next(line for line in result.output.splitlines() if line.strip().startswith("H100 "))


def test_a_batch_of_both_kinds_is_answered_line_by_line(tmp_path):
    lines = [
        {"model": {"id": SDXL}},
        {"model": {"id": "Qwen/Qwen3-8B"}},
        {"model": {"id": SDXL}, "serving": {"diffusion": {"width": 3}}},
    ]
    (tmp_path / "batch.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    result = run("size", "--batch", str(tmp_path / "batch.jsonl"), "--gpu", "L4")
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert first["memory"]["pipeline"]["phases"]
    assert "pipeline" not in second["memory"]
    assert third["error"]["path"] == "serving.diffusion.width"


def test_plan_shows_the_users_server(file):
    result = run("plan", "-f", file)
    assert result.exit_code == 0, result.output
    assert f"diffusers, {IMAGE}" in result.output
    assert "none but the image's own" in result.output
    assert "full contexts" not in result.output


def test_a_config_beside_the_document_is_read(tmp_path):
    config = {
        "_class_name": "AutoencoderKL", "block_out_channels": [64, 128, 256, 256], "sample_size": 512, "in_channels": 3,
        "out_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    }  # fmt: skip
    (tmp_path / "vae.json").write_text(json.dumps(config), encoding="utf-8")
    document = {**DOCUMENT, "model": {"id": SDXL, "pipeline": {"components": {"vae": {"config": "vae.json"}}}}}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump({**DOCUMENT, "model": {"id": SDXL}}), encoding="utf-8")
    narrow, wide = (
        json.loads(run("size", "-f", str(tmp_path / name), "--gpu", "H100", "--format", "json").stdout)
        for name in ("model.yaml", "whole.yaml")
    )
    found = [answer["memory"]["pipeline"]["phases"][-1]["activationsGiB"] for answer in (narrow, wide)]
    assert found[0] == pytest.approx(found[1] / 2, rel=1e-3)
    missing = run("size", "-f", str(tmp_path / "model.yaml").replace("model", "none"))
    assert missing.exit_code == 1
    (tmp_path / "vae.json").unlink()
    gone = run("size", "-f", str(tmp_path / "model.yaml"), "--gpu", "H100")
    assert gone.exit_code == 1
    assert "model.pipeline.components.vae.config" in gone.stderr


def test_a_stack_of_a_pipeline_passes_check_and_its_program_runs_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(stacks, "STACKS_DIRECTORY", tmp_path)
    for function in (stacks.stack_file, stacks.stack_names):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    sections = {f"gpufleet:{name}": value for name, value in DOCUMENT.items() if name != "region"}
    content = yaml.safe_dump({"config": {"aws:region": "us-east-1", **sections}})
    (tmp_path / "Pulumi.test-us-east-1.yaml").write_text(content, encoding="utf-8")
    result = run("check", "-s", "test-us-east-1", "--format", "json")
    report = json.loads(result.stdout)["stacks"][0]
    assert report["errors"] == []
    assert any("program runs offline" in passed for passed in report["passed"])


def test_init_asks_for_the_image_of_a_pipeline(tmp_path):
    target = tmp_path / "Pulumi.dev-us-east-1.yaml"
    arguments = ("init", "--model", SDXL, "--environment", "dev", "--region", "us-east-1", "--target", "none")
    without = run(*arguments, "--to", str(target))
    assert without.exit_code == 2
    assert "--image" in without.output
    assert "an image of your own" in without.output
    written = run(*arguments, "--to", str(target), "--image", IMAGE)
    assert written.exit_code == 0, written.output
    assert "in the largest phase" in written.output
    assert yaml.safe_load(target.read_text(encoding="utf-8"))["config"]["gpufleet:serving"]["image"] == IMAGE
