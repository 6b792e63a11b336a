"""The fixture that takes a test through every kind of plan."""

from __future__ import annotations

import pytest
from template_plans import PLANS

from gpufleet.planner.plan import DeploymentPlan


@pytest.fixture(params=PLANS, scope="module")
def plan(request: pytest.FixtureRequest) -> DeploymentPlan:
    """Each kind of plan in turn."""
    return PLANS[request.param]
