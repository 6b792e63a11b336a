"""Faults on demand: the next calls of an AWS action fail as the real service would.

Owns the list of pending faults and where they strike: before a call does its work, or after it ("it timed out, but it
worked"), with an error for an answer or with none at all. Leaves the wording of errors to whoever asks for a fault. A fault
is taken by API calls and by the launches that an Auto Scaling group makes by itself (`ec2`, `RunInstances`), as lack of
capacity is in the real service.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, fields
from typing import Any

from flask import request
from moto.core.common_types import TYPE_RESPONSE
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse


@dataclass(kw_only=True)
class Fault:
    """The next `times` calls of `action` (`*`: any) of `service` (boto3's name) end in error `code`.

    `contains` narrows it to requests with that text among their parameters, `after` lets the call do its work first,
    `delay_s` makes it slow, `drop` closes the connection instead of answering. With neither `code` nor `drop` it delays only.
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
    drop: bool = False

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
        return fault if fault.code or fault.drop else None


class FaultError(ServiceException):
    """An error of any code. Moto asks the module of a class for its service, and fails on a bare ServiceException."""


FAULTS = Faults()

DROPPED = "gpufleet.dropped"
"""Set in the WSGI environment of a request whose answer is not to be sent."""


def parameters_of(response: BaseResponse) -> str:
    """What a call was asked with, as text."""
    return str(response.params) if response.automated_parameter_parsing else str(response.body or response.querystring)


def install() -> None:
    """Make every API call of moto's server look for a fault first; every protocol's error shape is moto's own."""
    call_action = BaseResponse.call_action

    def call_or_fail(self: BaseResponse) -> TYPE_RESPONSE:
        fault = FAULTS.take(self.boto3_service_name, self._get_action() or "", parameters_of(self))
        if fault is None:
            return call_action(self)
        if fault.after:
            call_action(self)
        if fault.drop:
            request.environ[DROPPED] = True
        _, headers, body = self.serialized(ActionResult(FaultError(fault.code, fault.message or fault.code)))
        return fault.status, {**headers, "status": str(fault.status)}, body

    BaseResponse.call_action = call_or_fail  # type: ignore[method-assign]
