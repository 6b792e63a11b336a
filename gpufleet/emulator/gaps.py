"""What the emulator cannot do is said at once, in an error that no client retries.

Owns the answer to a call that moto does not implement or that breaks inside it: the AWS error `EmulatorGap` with status
400. Left as the status 500 that it would be, the provider repeats the call for minutes. The traceback goes to the log.
"""

from __future__ import annotations

import traceback

from moto.core.common_types import TYPE_RESPONSE
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from werkzeug.exceptions import HTTPException


class EmulatorGapError(ServiceException):
    code = "EmulatorGap"


def install() -> None:
    """Catch what escapes from any API call. To be installed last: whatever else wraps a call is covered too."""
    call_action = BaseResponse.call_action

    def call_or_say(self: BaseResponse) -> TYPE_RESPONSE:
        try:
            return call_action(self)
        except (HTTPException, ServiceException):
            raise  # an answer of moto's own
        except Exception as error:
            traceback.print_exc()
            call = f"{self.boto3_service_name} {self._get_action()}"
            gap = EmulatorGapError(f"{call} does not work in the emulator: {type(error).__name__}: {error}")
            _, headers, body = self.serialized(ActionResult(gap))
            return 400, {**headers, "status": "400"}, body

    BaseResponse.call_action = call_or_say  # type: ignore[method-assign]
