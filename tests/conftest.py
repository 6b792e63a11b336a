"""How property-based tests run: no example is timed, since a busy machine is slow and not wrong."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("gpufleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpufleet")
