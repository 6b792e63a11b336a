"""Calls to AWS: credentials by boto3's own rules, every page, politely; what goes wrong is an error for people.

Owns how AWS is asked and which words a refusal gets. Leaves what to ask for to `region` and `price_list`.
"""

from __future__ import annotations

import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from gpufleet.planner.errors import PlanningError, Problem

HOME_REGION = "us-east-1"
"""Where the account's regions are asked for, and one of the few with an endpoint of the price list."""

POLICY = "docs/iam/catalog.json"

POLITE = Config(
    retries={"mode": "adaptive", "total_max_attempts": 10},
    connect_timeout=10,
    read_timeout=60,
    max_pool_connections=8,
)
"""Adaptive: botocore waits longer and calls more seldom once AWS says that it is too much."""

DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
NO_IDENTITY = frozenset(
    {
        "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidSignatureException",
        "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException",
    }
)  # fmt: skip
CLOSED = frozenset({"OptInRequired", "AuthFailure", "UnrecognizedClientException"})
"""In a region other than the home region, where the same credentials were taken: it is not enabled, or takes no session token
of the older kind."""

DENIED_BY_ORGANIZATION = "service control policy"
"""In AWS's message: organisations deny whole regions that way, and no permission of the account's own helps."""

NO_CREDENTIALS = (
    NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound, TokenRetrievalError,
)  # fmt: skip

SIGN_IN = "sign in (`aws sso login`, or AWS_PROFILE, or AWS_ACCESS_KEY_ID) and run it again; nothing was changed"


class AwsError(PlanningError):
    """AWS did not answer, or refused to."""


class ClosedRegionError(AwsError):
    """AWS does not let the account into the region."""


class Account:
    """Whoever the credentials of the environment are."""

    def __init__(self, policy: str = POLICY) -> None:
        """`policy` is the file with the permissions that the questions need, for who lacks one."""
        self._policy = policy
        try:
            self._session = boto3.Session()
        except BotoCoreError as error:
            raise _failure(error, "sts", HOME_REGION, "GetCallerIdentity", policy) from None
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def ask(self, service: str, region: str, action: str, key: str, **parameters: Any) -> list[Any]:
        """What is under `key` in the answer to `action`, of all pages; AwsError with what to do where there is none."""
        try:
            client = self._client(service, region)
            operation = next(ours for ours, theirs in client.meta.method_to_api_mapping.items() if theirs == action)
            if not client.can_paginate(operation):
                answers: list[Any] = getattr(client, operation)(**parameters)[key]
                return answers
            pages = client.get_paginator(operation).paginate(**parameters)
            return [answer for page in pages for answer in page[key]]
        except (BotoCoreError, ClientError) as error:
            raise _failure(error, service, region, action, self._policy) from None

    def _client(self, service: str, region: str) -> Any:
        """One client for each service and region; making one is not safe from several threads, using it is."""
        with self._lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._session.client(service, region_name=region, config=POLITE)
            return self._clients[service, region]


def _failure(error: Exception, service: str, region: str, action: str, policy: str) -> AwsError:
    asked = f"{service}:{action} in {region}"
    if isinstance(error, NO_CREDENTIALS):
        return AwsError(Problem("", "there are no AWS credentials", given=str(error), next_step=SIGN_IN))
    if isinstance(error, ClientError):
        code, message = (error.response["Error"].get(key, "") for key in ("Code", "Message"))
        forbidden = code in DENIED and DENIED_BY_ORGANIZATION in message
        if region != HOME_REGION and (code in CLOSED or forbidden):
            return ClosedRegionError(Problem("", f"AWS does not let the account into {region}", given=message))
        if code in DENIED:
            return AwsError(
                Problem("", f"AWS refuses {asked}: the permission {service}:{action} is missing", given=message,
                        next_step=f"let an administrator allow it; {policy} has everything that is asked for")
            )  # fmt: skip
        if code in NO_IDENTITY:
            return AwsError(
                Problem("", f"AWS does not take these credentials ({asked})", given=message, next_step=SIGN_IN)
            )
        return AwsError(
            Problem("", f"AWS refuses {asked}: {code}", given=message, next_step="run it again; nothing was changed")
        )
    reachable = isinstance(error, ConnectionError | HTTPClientError)
    return AwsError(
        Problem("", f"{asked}: {'AWS cannot be reached' if reachable else 'AWS cannot be asked'}", given=str(error),
                next_step="look at the network, a proxy, AWS_ENDPOINT_URL; nothing was changed")
    )  # fmt: skip
