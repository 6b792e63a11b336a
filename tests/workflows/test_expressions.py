"""The tests' own reading of GitHub's expressions does what GitHub's documentation says."""

from __future__ import annotations

import pytest

from tests.workflows.expressions import condition, evaluate, interpolate

CONTEXT = {
    "github": {"event": {"number": 7}},
    "vars": {"ORGANIZATION": "", "ROLE": "arn:aws:iam::1:role/x"},
    "needs": {"a": {"result": "success", "outputs": {"x": "[]"}}, "b": {"result": "skipped"}},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'it''s'", "it's"),
        ("vars.ROLE", "arn:aws:iam::1:role/x"),
        ("vars.MISSING", None),
        ("vars.MISSING == ''", True),
        ("github.event.pull_request.number", None),
        ("github.event.number", 7),
        ("vars.ORGANIZATION && format('{0}/{1}', vars.ORGANIZATION, 'x') || 'x'", "x"),
        ("vars.ROLE && format('{0}/{1}', 'acme', 'x') || 'x'", "acme/x"),
        ("contains(needs.*.result, 'skipped')", True),
        ("!contains(needs.*.result, 'failure')", True),
        ("'A' == 'a'", True),
        ("fromJSON('[1, 2]')", [1, 2]),
        ("(1 == 2 || 1 == 1) && !(1 == 1)", False),
    ],
)
def test_value(expression, value):
    assert evaluate(expression, CONTEXT) == value


@pytest.mark.parametrize(
    ("text", "status", "met"),
    [
        (None, "success", True),
        (None, "failure", False),
        ("vars.ROLE != ''", "failure", False),
        ("failure()", "failure", True),
        ("failure()", "success", False),
        ("${{ !cancelled() }}", "failure", True),
        ("${{ !cancelled() }}", "cancelled", False),
        ("always()", "cancelled", True),
    ],
)
def test_a_condition_that_asks_for_no_status_asks_for_success(text, status, met):
    assert condition(text, CONTEXT, status) is met


def test_text_around_expressions_stays():
    assert interpolate("a ${{ github.event.number }} b ${{ vars.MISSING }}.", CONTEXT) == "a 7 b ."


@pytest.mark.parametrize("expression", ["secrets.KEY", "hashFiles('x')", "1 2", "vars.ROLE ~ 'x'"])
def test_what_it_does_not_know_is_an_error(expression):
    with pytest.raises(ValueError, match=r"no context|no function|expression"):
        evaluate(expression, CONTEXT)
