"""Which AWS actions the emulator was asked for, so that a test can hold an IAM policy to them.

Owns the record: one count for each action of a service (boto3's name for it), taken where moto itself would ask IAM
whether the caller may. S3's actions are IAM's (`GetObject` for a HEAD, too), all others the API's own. Owns the name of a
call in the log, too, whoever answers it: moto, a fault or the first call of the same token.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from flask import request
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import BaseResponse
from moto.s3.responses import ACTION_MAP


class Calls:
    """How often each action was asked for since the start, or since the last `clear`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[tuple[str, str]] = Counter()

    def add(self, service: str, action: str) -> None:
        """Count one call."""
        with self._lock:
            self._times[service, action] += 1

    def clear(self) -> None:
        """Forget every call."""
        with self._lock:
            self._times.clear()

    def made(self) -> list[dict[str, Any]]:
        """The actions that were asked for, sorted by service and action."""
        with self._lock:
            found = sorted(self._times.items())
        return [{"service": service, "action": action, "times": times} for (service, action), times in found]


CALLS = Calls()

CALL = "gpufleet.call"
"""Where the WSGI environment of a request says which action it asked for. S3's have none: method and path say it."""

OF_BUCKETS: dict[str, dict[str, str]] = {
    "HEAD": {"DEFAULT": "ListBucket"},
    "GET": {
        "encryption": "GetEncryptionConfiguration",
        "object-lock": "GetBucketObjectLockConfiguration",
        "ownershipControls": "GetBucketOwnershipControls",
        "publicAccessBlock": "GetBucketPublicAccessBlock",
        "replication": "GetReplicationConfiguration",
        "requestPayment": "GetBucketRequestPayment",
    },
    "PUT": {
        "encryption": "PutEncryptionConfiguration",
        "ownershipControls": "PutBucketOwnershipControls",
        "publicAccessBlock": "PutBucketPublicAccessBlock",
    },
    "DELETE": {
        "encryption": "PutEncryptionConfiguration",
        "ownershipControls": "PutBucketOwnershipControls",
        "publicAccessBlock": "PutBucketPublicAccessBlock",
    },
}
"""IAM's actions by method and parameter of a request to a bucket, where moto takes another (Amazon S3, required permissions
for API operations)."""

_authorize = ActionAuthenticatorMixin._authenticate_and_authorize_action


def _authorize_and_count(self: Any, iam_request_cls: type, resource: str = "*") -> None:
    service = self.boto3_service_name
    CALLS.add(service, self.data["Action"] if service == "s3" else self._get_action())
    _authorize(self, iam_request_cls, resource)


def install() -> None:
    """Count every API call of moto's server, and name it. To be installed behind what answers calls in moto's place."""
    call_action = BaseResponse.call_action

    def call_named(self: BaseResponse) -> TYPE_RESPONSE:
        request.environ[CALL] = f"{self.boto3_service_name} {self._get_action()}"
        return call_action(self)

    for method, actions in OF_BUCKETS.items():
        ACTION_MAP["BUCKET"][method] |= actions
    ActionAuthenticatorMixin._authenticate_and_authorize_action = _authorize_and_count  # type: ignore[method-assign]
    BaseResponse.call_action = call_named  # type: ignore[method-assign]
