"""The comment on a pull request: what stands in it, what no text can do in it, and how long it gets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gpufleet.review.changes import Change
from gpufleet.review.comparison import Comparison, FileChange, StackComparison
from gpufleet.review.gates import with_gates
from gpufleet.review.markdown import LEFT_OUT, MARK, MAX_CHARACTERS, as_markdown, code, fence, table, text
from gpufleet.review.risks import Risk
from tests.review.conftest import compared, snapshot

HOSTILE = (
    "<img src=x onerror=alert(1)>", "[click](https://evil.invalid)", "@everyone", "#1", "`code` | cell", "```\nfence",
    "</details>", "**bold**", "&lt;b&gt;", "a\n\n# heading", "-->", "https://evil.invalid", "![x](y)", "\\`", "|",
)  # fmt: skip


def render(markdown: str):
    """GitHub's dialect as far as it matters here: tables, bare links, HTML that is written out."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(markdown)


def tokens(markdown: str):
    """All tokens, those inside of text too."""
    return [inner for token in render(markdown) for inner in (token, *(token.children or ()))]


def words(value: str) -> list[str]:
    """The words of a text, without the invisible characters that keep it from being more; Markdown replaces NUL."""
    return value.replace("\u200b", "").replace("\x00", "\ufffd").split()


def comparison(*stacks: StackComparison, **values) -> Comparison:
    return Comparison(base="main (1234567)", head="this checkout", stacks=stacks, **values)


def changed(name: str = "dev-us-east-1", **values) -> StackComparison:
    return StackComparison(stack=name, status="changed", **values)


@pytest.fixture(scope="module")
def larger():
    """A real comparison: the small stack with a model that needs more."""
    return replace(
        compared(snapshot(), snapshot(model={"id": "Qwen/Qwen2.5-14B-Instruct", "precision": "fp16"})),
        stack="dev-us-east-1",
    )


def test_the_summary_comes_first_and_the_long_parts_are_folded(larger):
    shown = as_markdown(comparison(larger))
    assert shown.startswith(f"{MARK}\n### gpufleet: 1 of 1 stacks changes\n")
    visible, _, hidden = shown.partition("<details>")
    assert "| **`dev-us-east-1`** | `g6.xlarge` → **`" in visible
    assert "**rollout**: every instance is replaced in turn" in visible
    assert "| Instance type | `g6.xlarge` |" in visible
    assert "| `model.id` | `Qwen/Qwen3-8B` | `Qwen/Qwen2.5-14B-Instruct` |" in visible
    assert "aws:ec2:LaunchTemplate" in hidden
    assert "```diff" in hidden
    assert len(visible) < 5_000


def test_every_table_is_one_for_github_too(larger):
    shown = as_markdown(comparison(larger))
    tables = [token for token in render(shown) if token.type == "table_open"]
    assert len(tables) == sum(line.startswith("| --- |") for line in shown.splitlines())
    assert shown.count("<details>") == shown.count("</details>") >= 4


def test_nothing_changes():
    shown = as_markdown(comparison(StackComparison(stack="dev-us-east-1", status="unchanged")))
    assert "### gpufleet: none of 1 stacks changes" in shown
    assert "Unchanged: `dev-us-east-1`." in shown


def test_a_failed_gate_stands_above_everything(larger):
    gated = with_gates(comparison(larger), fail_on=frozenset({"rollout"}), max_monthly_increase_usd=1)
    shown = as_markdown(gated)
    before_table = shown.partition("| stack |")[0]
    assert "Gate failed: --max-monthly-increase 1" in before_table
    assert "Gate failed: --fail-on rollout" in before_table
    assert "rollout" in shown
    assert ", cost |" in shown


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)))
@example("`")
@example("a | b")
@example("``|`` `")
def test_code_is_one_piece_of_code(value):
    [paragraph] = [t for t in render(f"x {code(value)} y") if t.type == "inline"]
    kinds = [child.type for child in paragraph.children]
    assert kinds == ["text", "code_inline", "text"]
    assert paragraph.children[1].content.strip().replace("\\|", "|").split() == words(value)


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30)), min_size=2, max_size=2))
def test_no_text_breaks_a_table(values):
    shown = table(("a", "b"), [(code(values[0]), text(values[1]))])
    cells = [t for t in render(shown) if t.type == "td_open"]
    assert len(cells) == 2


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)))
def test_running_text_is_only_text(value):
    allowed = {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "html_entity"}
    found = tokens(f"x {text(value)} y")
    assert {t.type for t in found} <= allowed
    shown = "".join(t.content for t in found if t.type in ("text", "text_special"))
    assert words(shown) == words(f"x {value} y")
    assert "@" not in text(value).replace("@\u200b", "")
    assert "://" not in text(value)


@given(st.text(max_size=80))
def test_a_fence_holds_any_text(value):
    fenced = [t for t in render(fence(value.replace("\r", ""), "diff")) if t.type == "fence"]
    assert len(fenced) == 1


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_value_of_a_stack_file_is_more_than_text(hostile):
    stack = changed(
        notes=(hostile,),
        requirements=(Change("tags.x", hostile, None), Change(f"tags.{hostile}", None, "x")),
        plan=(Change("model.id", "a", hostile), Change("tags.x", hostile, None)),
        reasons={"model.id": hostile},
        warnings=(hostile,),
        risks=(Risk("rollout", hostile),),
        files=(FileChange(name=hostile, added=1, removed=0, diff=f"+{hostile}"),),
    )
    plain = replace(
        stack, notes=("x",), requirements=(Change("tags.x", "x", None), Change("tags.y", None, "x")), warnings=("x",),
        plan=(Change("model.id", "a", "x"), Change("tags.x", "x", None)), reasons={"model.id": "x"},
        risks=(Risk("rollout", "x"),), files=(FileChange(name="x", added=1, removed=0, diff="+x"),),
    )  # fmt: skip
    structure = [t.type for t in tokens(as_markdown(comparison(stack))) if t.type not in ("text", "text_special")]
    expected = [t.type for t in tokens(as_markdown(comparison(plain))) if t.type not in ("text", "text_special")]
    assert structure == expected


def test_a_comment_that_would_be_too_long_leaves_the_longest_out_and_says_so():
    diff = "\n".join(f"+line {i}" for i in range(5_000))
    many = [
        changed(
            f"s{i}", files=(FileChange(name="user-data.sh", added=5_000, removed=0, diff=diff),), warnings=(f"w{i}",)
        )
        for i in range(8)
    ]
    shown = as_markdown(comparison(*many))
    assert len(shown) <= MAX_CHARACTERS
    assert LEFT_OUT in shown
    assert "+line" not in shown
    assert all(f"- w{i}" in shown for i in range(8))


def test_even_hundreds_of_stacks_fit():
    many = [changed(f"stack-{i}", warnings=("w" * 300,)) for i in range(400)]
    shown = as_markdown(comparison(*many))
    assert len(shown) <= MAX_CHARACTERS + 200
    assert shown.endswith(LEFT_OUT)
    assert "| **`stack-399`** |" in shown
