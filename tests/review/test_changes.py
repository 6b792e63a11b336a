"""Which values of two documents differ."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.review.changes import Change, changes

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(st.text("xyz", min_size=1, max_size=2), values, max_size=4)


def test_a_value_that_differs_is_named_by_its_path():
    before = {"a": {"b": 1, "c": 2}, "d": 3}
    after = {"a": {"b": 1, "c": 5}, "e": 4}
    assert changes(before, after) == (Change("a.c", 2, 5), Change("d", 3, None), Change("e", None, 4))


def test_null_empty_and_absent_are_the_same():
    assert changes({"a": None, "b": [], "c": {}}, {}) == ()
    assert changes(None, {"a": []}) == ()


def test_lists_of_plain_values_stand_as_a_whole():
    assert changes({"zones": ["a", "b"]}, {"zones": ["a", "c"]}) == (Change("zones", ["a", "b"], ["a", "c"]),)


def test_lists_of_mappings_are_compared_one_by_one():
    before = {"steps": [{"from": 0, "add": 20}, {"from": 1, "add": 50}]}
    after = {"steps": [{"from": 0, "add": 20}, {"from": 1, "add": 60}, {"from": 2, "add": 100}]}
    assert changes(before, after) == (
        Change("steps[1].add", 50, 60),
        Change("steps[2].from", None, 2),
        Change("steps[2].add", None, 100),
    )


def test_tags_are_compared_by_key_and_overrides_by_type():
    tags = [{"key": k, "value": v, "propagateAtLaunch": True} for k, v in (("Name", "x"), ("team", "search"))]
    other = [{"key": k, "value": v, "propagateAtLaunch": True} for k, v in (("team", "ads"), ("Name", "x"))]
    assert changes({"tags": tags}, {"tags": other}) == (Change("tags.team", "search", "ads"),)
    types, fewer = [{"instanceType": "g5.xlarge"}, {"instanceType": "g6.xlarge"}], [{"instanceType": "g6.xlarge"}]
    assert changes({"o": types}, {"o": fewer}) == (Change("o", ["g5.xlarge", "g6.xlarge"], ["g6.xlarge"]),)


def test_documents_in_text_are_read():
    before, after = (json.dumps({"Statement": [{"Action": a, "Effect": "Allow"}]}) for a in ("s3:GetObject", "s3:*"))
    assert changes({"policy": before}, {"policy": after}) == (
        Change("policy.Statement[0].Action", "s3:GetObject", "s3:*"),
    )
    assert changes({"text": "{not json"}, {"text": "{nor this"}) == (Change("text", "{not json", "{nor this"),)


@given(documents)
def test_a_document_does_not_differ_from_itself(document):
    assert changes(document, json.loads(json.dumps(document))) == ()


@given(documents, documents)
def test_both_directions_find_the_same_paths(one, other):
    there, back = changes(one, other), changes(other, one)
    assert {(c.path, repr(c.before), repr(c.after)) for c in there} == {
        (c.path, repr(c.after), repr(c.before)) for c in back
    }


@given(documents, documents)
def test_documents_without_changes_are_equal_but_for_what_is_empty(one, other):
    if not changes(one, other):
        assert pruned(one) == pruned(other)


def pruned(value):
    """Without nulls and without what is empty once they are gone."""
    if isinstance(value, dict):
        kept = {key: pruned(member) for key, member in value.items()}
        return {key: member for key, member in kept.items() if member not in (None, {}, [])} or None
    if isinstance(value, list) and value and all(isinstance(member, dict) for member in value):
        return [pruned(member) for member in value]
    return None if value in ([], {}) and not isinstance(value, bool) else value


@pytest.mark.parametrize("side", [None, {}])
def test_everything_of_a_document_is_new_beside_nothing(side):
    assert changes(side, {"a": 1, "b": {"c": 2}}) == (Change("a", None, 1), Change("b.c", None, 2))
