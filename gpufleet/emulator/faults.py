"""Faults on demand: the next calls of an AWS action fail as the real service would.

Owns the list of pending faults and where they strike: before a call does its work, or after it ("it timed out, but it
worked"). Leaves the wording of errors to whoever asks for a fault. A fault is taken by API calls and by the launches
that an Auto Scaling group makes by itself (`ec2`, `RunInstances`), as lack of capacity is in the real service.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, fields
from typing import Any

from moto.core.common_types import TYPE_RESPONSE
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse


@dataclass(kw_only=True)
class Fault:
    """The next `times` calls of `action` (`*`: any) of `service` (boto3's name) end in error `code`.

    `contains` narrows it to requests with that text among their parameters, `after` lets the call do its work first,
    `delay_s` makes it slow. An empty `code` delays only.
    """

    service: str
    action: str
    code: str = ""
    message: str = ""
    status: int = 400
    times: int = 1
    contains: str = ""
    after: bool = False
    delay_s: float = 0.0

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Fault:
        """A fault from a request body; raises ValueError with the known keys when one is unknown or missing."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(document) - set(known)):
            raise ValueError(f"unknown key {unknown[0]}; known: {', '.join(known)}")
        try:
            return cls(**document)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def strikes(self, service: str, action: str, parameters: str) -> bool:
        """Whether this call is one of those that fail."""
        return self.service == service and self.action in ("*", action) and self.contains in parameters


class Faults:
    """The pending faults, first in first out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault behind those that are pending."""
        with self._lock:
            self._pending.append(fault)

    def clear(self) -> None:
        """Forget every pending fault."""
        with self._lock:
            self._pending.clear()

    def pending(self) -> list[Fault]:
        """What has not struck yet."""
        with self._lock:
            return list(self._pending)

    def take(self, service: str, action: str, parameters: str = "") -> Fault | None:
        """The fault that this call runs into, counted down; None when it may pass."""
        with self._lock:
            fault = next((f for f in self._pending if f.strikes(service, action, parameters)), None)
            if fault is None:
                return None
            fault.times -= 1
            if fault.times <= 0:
                self._pending.remove(fault)
        if fault.delay_s:
            time.sleep(fault.delay_s)
        return fault if fault.code else None


class FaultError(ServiceException):
    """An error of any code. Moto asks the module of a class for its service, and fails on a bare ServiceException."""


FAULTS = Faults()

_call_action = BaseResponse.call_action


def _call_action_with_faults(self: BaseResponse) -> TYPE_RESPONSE:
    """Moto's dispatch of one API call, with the fault that awaits it; every protocol's error shape is moto's own."""
    fault = FAULTS.take(self.boto3_service_name, self._get_action() or "", _parameters(self))
    if fault is None:
        return _call_action(self)
    if fault.after:
        _call_action(self)
    _, headers, body = self.serialized(ActionResult(FaultError(fault.code, fault.message or fault.code)))
    return fault.status, {**headers, "status": str(fault.status)}, body


def _parameters(response: BaseResponse) -> str:
    return str(response.params) if response.automated_parameter_parsing else str(response.body or response.querystring)


def install() -> None:
    """Make every API call of moto's server look for a fault first."""
    BaseResponse.call_action = _call_action_with_faults  # type: ignore[method-assign]
