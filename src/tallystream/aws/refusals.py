"""What AWS refuses, as an error that says what is missing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tallystream.core.errors import TallystreamError

_DENIED: Final = re.compile(r"not authorized to perform: (?P<action>[\w:*-]+)(?: on resource: (?P<resource>\S+))?")

_NOT_ACCEPTED: Final = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class DeployError(TallystreamError):
    """AWS refused, or a stack is not in a state for what was asked."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what AWS refuses into an error that says which permission, credential or setting is missing."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        yield
    except NoCredentialsError:
        raise DeployError("there are no AWS credentials; set AWS_PROFILE, or log in with: aws configure") from None
    except NoRegionError:
        raise DeployError("no AWS region is chosen; give one with --region, or set AWS_REGION") from None
    except ClientError as error:
        found = error.response.get("Error", {})
        said = found.get("Message", str(error))
        if denied := _DENIED.search(said):
            on = f" on {denied['resource']}" if denied["resource"] else ""
            raise DeployError(
                f"the permission {denied['action']}{on} is missing; have it added to your role or user"
            ) from error
        if found.get("Code") in _NOT_ACCEPTED:
            raise DeployError(f"AWS does not accept your credentials: {said}; log in again, or set AWS_PROFILE") from error
        raise DeployError(f"AWS refused {error.operation_name}: {said}") from error
    except BotoCoreError as error:
        raise DeployError(f"AWS cannot be asked: {error}; look at the region, the profile and the network") from error
