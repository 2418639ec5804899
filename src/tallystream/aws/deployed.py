"""By what a deployed stack counts: the definition in its package, the settings of its count function, and since when."""

import io
import zipfile
from typing import Any, Final, NamedTuple

import msgspec

from tallystream.aws.deploy import Account
from tallystream.aws.function import DEFINITION
from tallystream.aws.refusals import DeployError, refusals
from tallystream.aws.rows import Layout
from tallystream.core.definition import Definition

_RETENTION_MS_MIN: Final = 24 * 3_600_000  # of Kinesis


class Deployed(NamedTuple):
    """What a stack counts, and by what."""

    stream: str
    table: str
    definition: Definition  # without what does not count
    layout: Layout
    changed_ms: int | None  # when the count function was changed last; None: it is as it was made
    kept_before_ms: int | None  # records that arrived before may have gone by an earlier retention; None: there was none


def read_deployed(account: Account, stack: str) -> Deployed:
    """
    Return by what a stack counts.

    Raises:
        DeployError: there is no such stack, it is not ours, or AWS refused.
    """
    import boto3

    summary = account.existing(stack)
    with refusals():
        session = boto3.Session(region_name=account.region)
        stacks = session.client("cloudformation")
        parameters = {
            each["ParameterKey"]: each["ParameterValue"]
            for each in stacks.describe_stacks(StackName=stack)["Stacks"][0].get("Parameters", [])
        }
        function = _resource(stacks, stack, "CountFunction")
        stream = _resource(stacks, stack, "Stream")
        settings = session.client("lambda").get_function_configuration(FunctionName=function["PhysicalResourceId"])
        package = session.client("s3").get_object(Bucket=parameters["CodeBucket"], Key=parameters["CodeKey"])["Body"].read()
    variables = settings["Environment"]["Variables"]
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            definition = msgspec.json.decode(archive.read(DEFINITION), type=Definition)
    except (KeyError, msgspec.DecodeError) as error:
        raise DeployError(
            f"the stack {stack} was deployed by another version of Tallystream, and this one cannot read its definition"
            f" ({error}); deploy it again, or use that version"
        ) from error
    stream_changed_ms = _changed_ms(stream)
    return Deployed(
        summary.outputs["StreamName"],
        summary.outputs["TableName"],
        definition,
        Layout(int(variables["TALLY_GROUPS_MAX"]), int(variables["TALLY_WRITE_SHARDS"])),
        _changed_ms(function),
        None if stream_changed_ms is None else stream_changed_ms - _RETENTION_MS_MIN,
    )


def _resource(stacks: Any, stack: str, logical_id: str) -> dict[str, Any]:
    found: dict[str, Any] = stacks.describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)["StackResourceDetail"]
    return found


def _changed_ms(resource: dict[str, Any]) -> int | None:
    """Return when a resource was changed last; None: it is as it was made."""
    if resource["ResourceStatus"] == "CREATE_COMPLETE":
        return None
    return int(resource["LastUpdatedTimestamp"].timestamp() * 1_000)
