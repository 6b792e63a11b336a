"""The 80% rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.limits import divide_limits


def test_the_worked_example_of_a_g4dn_2xlarge():
    limits = divide_limits(vcpu=8, memory_mib=32768, replicas=1, gpus_per_replica=1)
    assert (limits.replica.vcpu, limits.replica.memory_mib) == (6.4, 26214)
    assert limits.proxy is None


@given(
    vcpu=st.integers(4, 192),
    memory_gib=st.integers(8, 2048),
    replicas=st.integers(1, 8),
    degree=st.sampled_from([1, 2, 4, 8]),
)
def test_all_containers_together_stay_within_80_percent_and_waste_little(vcpu, memory_gib, replicas, degree):
    memory_mib = memory_gib * 1024
    limits = divide_limits(vcpu=vcpu, memory_mib=memory_mib, replicas=replicas, gpus_per_replica=degree)
    proxy_vcpu = limits.proxy.vcpu if limits.proxy else 0
    proxy_mib = limits.proxy.memory_mib if limits.proxy else 0
    used_vcpu = limits.replica.vcpu * replicas + proxy_vcpu
    used_mib = limits.replica.memory_mib * replicas + proxy_mib
    assert used_vcpu <= vcpu * 0.8 + 1e-9
    assert used_mib <= memory_mib * 0.8
    assert vcpu * 0.8 - used_vcpu < 0.01 * replicas + 1e-9
    assert memory_mib * 0.8 - used_mib < replicas + 1
    assert (limits.proxy is None) == (replicas == 1)
    assert limits.shared_memory_mib <= limits.replica.memory_mib * 0.25
    assert limits.replica.vcpu == pytest.approx(round(limits.replica.vcpu, 2))
