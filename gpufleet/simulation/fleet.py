"""The instances of a group: starting, in service, warming up, draining; and who pays until when.

Owns their lives. Leaves how many there should be to the policies, and what each serves to `replica`.
"""

from __future__ import annotations

import math

from gpufleet.simulation.model import Settings, Speed
from gpufleet.simulation.replica import Answered, Replicas, Work, spread

ALIKE = 0.1
"""Groups whose replicas' outstanding requests differ by less (or by less than one) are one."""


class Fleet:
    """The group at one second. Instances launch when they are desired, and leave when they are not."""

    def __init__(self, settings: Settings, speed: Speed, instances: int) -> None:
        self.desired = instances
        self.instance_seconds = 0.0
        """Of instances that are gone, less the launches of those that are not."""
        self.requests, self.unanswered = 0.0, 0.0
        self._settings, self._speed = settings, speed
        self._starting: list[float] = []
        """The second at which each will be in service, ascending."""
        self._draining: list[float] = []
        self._groups: list[Replicas] = []
        self._second = 0.0
        if instances:
            self._groups.append(self._group(instances, -math.inf))

    def _group(self, instances: int, second: float) -> Replicas:
        return Replicas(instances * self._settings.replicas_per_instance, self._speed, second)

    @property
    def groups(self) -> list[Replicas]:
        """Replicas in service, by when they came."""
        return self._groups

    @property
    def in_service(self) -> int:
        """Instances that take requests."""
        return sum(group.count for group in self._groups) // self._settings.replicas_per_instance

    @property
    def starting(self) -> int:
        """Instances that are paid and not yet in service."""
        return len(self._starting)

    @property
    def draining(self) -> int:
        """Instances that end what they have and take no more."""
        return len(self._draining)

    def warm_groups(self) -> list[Replicas]:
        """Those whose default instance warm-up is over: it counts from in service on."""
        warm_from = self._second - self._settings.warmup_seconds
        return [group for group in self._groups if group.in_service_at <= warm_from]

    @property
    def warm(self) -> int:
        """Instances that the policies take for the group's current capacity while it scales out."""
        return sum(group.count for group in self.warm_groups()) // self._settings.replicas_per_instance

    def advance(self, second: float) -> None:
        """Let instances come into service and drained ones end; requests start and end."""
        self._second = second
        ready = 0
        while self._starting and self._starting[0] <= second:
            self._starting.pop(0)
            ready += 1
        for group in self._groups:
            group.advance(second)
        if ready:
            self._groups.append(self._group(ready, second))
        if len(self._groups) > 1:
            self._unite()
        self._draining = [until for until in self._draining if until > second]

    def _unite(self) -> None:
        """Make one group of those that the load balancer and the policies cannot tell apart."""
        warm_from = self._second - self._settings.warmup_seconds
        united: list[Replicas] = []
        for group in self._groups:
            for other in united:
                alike = (group.in_service_at <= warm_from) == (other.in_service_at <= warm_from)
                most = max(group.outstanding, other.outstanding)
                if alike and abs(group.outstanding - other.outstanding) <= max(1.0, ALIKE * most):
                    other.absorb(group)
                    break
            else:
                united.append(group)
        self._groups = united

    def arrive(self, second: float, requests: float, work: Work, answered: Answered) -> None:
        """A cohort; with nobody in service, the load balancer answers 503."""
        self.requests += requests
        if not self._groups:
            self.unanswered += requests
            return
        for group in self._groups:
            group.advance(second)
        if len(self._groups) == 1:
            self._groups[0].accept(second, requests, work, answered)
            return
        for group, part in zip(self._groups, spread(requests, self._groups), strict=True):
            group.accept(second, part, work, answered)

    def scale_to(self, desired: int, start_seconds: float) -> None:
        """Launch or terminate instances until there are `desired`."""
        missing = desired - len(self._starting) - self.in_service
        self.desired = desired
        for _ in range(missing):
            self.instance_seconds -= self._second
            self._starting.append(self._second + start_seconds)
        for _ in range(-missing):
            self._terminate()

    def _terminate(self) -> None:
        """One that starts still, else one of the largest group: it ends its requests first, and is paid until then."""
        if self._starting:
            self._starting.pop()
            self.instance_seconds += self._second
            return
        group = max(self._groups, key=lambda g: g.count)
        drained_at = group.split(self._settings.replicas_per_instance)
        if not group.count:
            self._groups.remove(group)
        longest = self._settings.longest_request_seconds
        until = max(self._second, drained_at if longest is None else min(drained_at, self._second + longest))
        self._draining.append(until)
        self.instance_seconds += until

    def paid_until(self, second: float) -> float:
        """Instance-seconds in all, were the fleet to end then."""
        return self.instance_seconds + second * (len(self._starting) + self.in_service)
