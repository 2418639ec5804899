"""
Stacks in an account: planned as a change set, executed, looked at, destroyed.

A stack is ours if it has our tag; no other is touched. Everything may be repeated: what is there already is found, not made.
The package lies in a bucket of the account, `tallystream-ACCOUNT-REGION`, below the stack's name and named by its hash.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from tallystream.aws.package import Package
from tallystream.aws.refusals import DeployError, refusals
from tallystream.aws.template import SETTINGS
from tallystream.aws.template_function import StackSettings

TAG: Final = "tallystream"
TEMPLATE_BODY_BYTES_MAX: Final = 51_200  # within a request; a larger one is read from the bucket

_STACK_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_NO_CHANGES: Final = ("didn't contain changes", "no updates are to be performed")
_POLL_S: Final = 2.0


class Change(NamedTuple):
    """What a plan does with a resource."""

    action: str  # Add, Modify, Remove
    resource_type: str
    logical_id: str
    replacement: str  # True: what it holds is lost, unless the template retains it; False, Conditional, or empty


class Plan(NamedTuple):
    """A change set that waits to be executed."""

    change_set: str
    is_new: bool
    changes: tuple[Change, ...]  # empty: the stack is as it should be, and there is no change set


class Progress(NamedTuple):
    """Something that has happened to a resource."""

    status: str
    resource_type: str
    logical_id: str
    reason: str


class Summary(NamedTuple):
    """How a stack is."""

    status: str
    outputs: dict[str, str]
    alarms: dict[str, str]  # name → state


class Account:
    """AWS, with the credentials and the region of its usual chain."""

    def __init__(self, region: str | None = None, pause: Callable[[float], None] = time.sleep) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import NoRegionError
        except ImportError:
            raise DeployError("boto3 is not installed; install it with: pip install 'tallystream[aws]'") from None
        self._pause = pause
        with refusals():
            session = boto3.Session(region_name=region)
            config = Config(retries={"mode": "standard"})
            self._stacks = session.client("cloudformation", config=config)
            self._files = session.client("s3", config=config)
            self._alarms = session.client("cloudwatch", config=config)
            self.region: str = self._stacks.meta.region_name or ""
            if not self.region:
                raise NoRegionError
            self.number: str = session.client("sts", config=config).get_caller_identity()["Account"]
        self.bucket = f"tallystream-{self.number}-{self.region}"

    def settings(self, stack: str) -> StackSettings | None:
        """Return with what settings one of our stacks was deployed; None: there is none."""
        found = self._describe(stack)
        if found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS":
            return None
        _check_is_ours(stack, found)
        with refusals():
            body = self._stacks.get_template(StackName=stack)["TemplateBody"]
        template = json.loads(body) if isinstance(body, str) else body
        return msgspec.convert(template.get("Metadata", {}).get(SETTINGS, {}), StackSettings)

    def plan(self, stack: str, template: dict[str, Any], package: Package, definition_name: str) -> Plan:
        """
        Let CloudFormation find out what would change.

        Raises:
            DeployError: the stack is somebody else's, at work, or has failed to be created.
        """
        found = self._describe(stack)
        is_new = found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS"
        if found is not None:
            _check_is_ours(stack, found)
            _check_is_ready(stack, found["StackStatus"])
        body = json.dumps(template, ensure_ascii=False, separators=(",", ":")).encode()
        key = package_key(stack, package)
        digest = hashlib.sha256(body + key.encode()).hexdigest()
        name = f"tally-{digest[:16]}-{time.time_ns() // 1_000_000}"
        with refusals():
            self._stacks.create_change_set(
                StackName=stack,
                ChangeSetName=name,
                ChangeSetType="CREATE" if is_new else "UPDATE",
                **self._template(stack, body),
                Parameters=[
                    {"ParameterKey": "CodeBucket", "ParameterValue": self.bucket},
                    {"ParameterKey": "CodeKey", "ParameterValue": key},
                ],
                Capabilities=["CAPABILITY_IAM"],
                Tags=[{"Key": TAG, "Value": definition_name}],
            )
            return self._planned(stack, name, is_new=is_new)

    def execute(self, stack: str, plan: Plan, package: Package) -> Iterator[Progress]:
        """
        Upload the package and carry out a plan; yield what happens as it does.

        Raises:
            DeployError: it failed; CloudFormation has undone it.
        """
        self._upload(package_key(stack, package), package.data)
        with refusals():
            seen = {event["EventId"] for event in self._events(stack)}
            self._stacks.execute_change_set(StackName=stack, ChangeSetName=plan.change_set)
        failed = yield from self._follow(stack, stack, seen)
        found = self._describe(stack)
        status = found["StackStatus"] if found else "DELETE_COMPLETE"
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            remedy = f"; remove what is left with: tally aws destroy --stack {stack}" if plan.is_new else ""
            raise DeployError(f"the stack {stack} is {status}: {'; '.join(failed) or 'no reason was given'}{remedy}")

    def discard(self, stack: str, plan: Plan) -> None:
        """Forget a plan, and the empty stack that CloudFormation has made for it."""
        with refusals():
            if plan.is_new:
                self._stacks.delete_stack(StackName=stack)
            else:
                self._stacks.delete_change_set(StackName=stack, ChangeSetName=plan.change_set)

    def summary(self, stack: str) -> Summary | None:
        """Return how one of our stacks is; None: there is none."""
        found = self._describe(stack)
        if found is None:
            return None
        _check_is_ours(stack, found)
        with refusals():
            pages = self._alarms.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=f"{stack}/", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
            alarms = {
                alarm["AlarmName"]: alarm["StateValue"]
                for page in pages
                for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]
            }
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        return Summary(found["StackStatus"], outputs, alarms)

    def existing(self, stack: str) -> Summary:
        """
        Return how one of our stacks is.

        Raises:
            DeployError: there is none, or it is somebody else's.
        """
        found = self.summary(stack)
        if found is None:
            raise DeployError(f"there is no stack {stack} in {self.region}; make it with: tally aws deploy")
        return found

    def destroy(self, stack: str) -> Iterator[Progress]:
        """
        Delete one of our stacks with everything in it, and its packages; yield what happens as it does.

        Raises:
            DeployError: something could not be deleted.
        """
        found = self._describe(stack)
        if found is not None:
            _check_is_ours(stack, found)
            with refusals():
                seen = {event["EventId"] for event in self._events(stack)}
                self._stacks.delete_stack(StackName=stack)
            # By its id, a stack can be asked about after its end.
            failed = yield from self._follow(stack, found["StackId"], seen)
            if (left := self._describe(stack)) is not None:
                raise DeployError(f"the stack {stack} is {left['StackStatus']}: {'; '.join(failed) or 'no reason was given'}")
        self._remove_files(stack)

    def _template(self, stack: str, body: bytes) -> dict[str, str]:
        if len(body) <= TEMPLATE_BODY_BYTES_MAX:
            return {"TemplateBody": body.decode()}
        key = f"{stack}/{hashlib.sha256(body).hexdigest()}.json"
        self._upload(key, body)
        return {"TemplateURL": f"{self._files.meta.endpoint_url}/{self.bucket}/{key}"}

    def _planned(self, stack: str, name: str, *, is_new: bool) -> Plan:
        while True:
            found = self._stacks.describe_change_set(StackName=stack, ChangeSetName=name)
            if found["Status"] in ("CREATE_COMPLETE", "FAILED"):
                break
            self._pause(_POLL_S)
        plan = Plan(name, is_new, ())
        if found["Status"] == "FAILED":
            reason = found.get("StatusReason", "no reason was given")
            self.discard(stack, plan)
            if any(phrase in reason.lower() for phrase in _NO_CHANGES):
                return plan
            raise DeployError(f"CloudFormation refuses the template: {reason}")
        pages = self._stacks.get_paginator("describe_change_set").paginate(StackName=stack, ChangeSetName=name)
        resources = [change["ResourceChange"] for page in pages for change in page["Changes"] if "ResourceChange" in change]
        if not resources and not is_new:
            self.discard(stack, plan)
        return plan._replace(
            changes=tuple(
                Change(each["Action"], each["ResourceType"], each["LogicalResourceId"], each.get("Replacement", ""))
                for each in resources
            )
        )

    def _describe(self, stack: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        with refusals():
            try:
                found: dict[str, Any] = self._stacks.describe_stacks(StackName=stack)["Stacks"][0]
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        return None if found["StackStatus"] == "DELETE_COMPLETE" else found

    def _follow(self, stack: str, asked: str, seen: set[str]) -> Generator[Progress, None, list[str]]:
        """Yield the events of a stack until it rests; return the reasons of those that failed."""
        failed: list[str] = []
        while True:
            found = self._describe(asked)
            with refusals():
                events = [event for event in self._events(asked) if event["EventId"] not in seen]
            for event in reversed(events):
                seen.add(event["EventId"])
                progress = Progress(
                    event["ResourceStatus"],
                    event["ResourceType"],
                    event["LogicalResourceId"],
                    event.get("ResourceStatusReason", ""),
                )
                # What was cancelled because of a failure explains nothing.
                if progress.status.endswith("_FAILED") and "cancelled" not in progress.reason:
                    failed.append(f"{progress.logical_id}: {progress.reason}")
                if progress.logical_id != stack:
                    yield progress
            if found is None or not found["StackStatus"].endswith("_IN_PROGRESS"):
                return failed
            self._pause(_POLL_S)

    def _events(self, stack: str) -> Iterator[dict[str, Any]]:
        for page in self._stacks.get_paginator("describe_stack_events").paginate(StackName=stack):
            yield from page["StackEvents"]

    def _upload(self, key: str, data: bytes) -> None:
        from botocore.exceptions import ClientError

        with refusals():
            try:
                self._files.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                where = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
                self._files.create_bucket(Bucket=self.bucket, **({"CreateBucketConfiguration": where} if where else {}))
            # Named by its hash, it may be written over by itself.
            self._files.put_object(Bucket=self.bucket, Key=key, Body=data, ExpectedBucketOwner=self.number)

    def _remove_files(self, stack: str) -> None:
        """Remove the stack's files, and the bucket if nothing else is in it."""
        from botocore.exceptions import ClientError

        with refusals():
            try:
                pages = self._files.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
                keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
            except ClientError as error:
                if error.response["Error"]["Code"] in ("NoSuchBucket", "404"):
                    return
                raise
            ours = [key for key in keys if key.startswith(f"{stack}/")]
            for key in ours:
                self._files.delete_object(Bucket=self.bucket, Key=key)
            if len(ours) == len(keys):
                self._files.delete_bucket(Bucket=self.bucket)


def stack_name(definition_name: str) -> str:
    """
    Return what the stack of a definition is called: as the definition, with hyphens, which CloudFormation wants.

    Raises:
        DeployError: that is no name of a stack.
    """
    return check_stack_name(definition_name.replace("_", "-"))


def check_stack_name(name: str) -> str:
    """Return a name of a stack as it is; raise DeployError if it is none."""
    if _STACK_NAME.fullmatch(name) is None:
        raise DeployError(
            f"a stack's name is a letter and up to 127 letters, digits and hyphens, got {name!r}; name the stack so"
        )
    return name


def package_key(stack: str, package: Package) -> str:
    """Return where a stack's package lies in the bucket."""
    return f"{stack}/{package.sha256}.zip"


def _check_is_ours(stack: str, found: dict[str, Any]) -> None:
    if not any(tag["Key"] == TAG for tag in found.get("Tags", [])) and found["StackStatus"] != "REVIEW_IN_PROGRESS":
        raise DeployError(f"the stack {stack} is not Tallystream's: it has no tag {TAG!r}; name another stack")


def _check_is_ready(stack: str, status: str) -> None:
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        raise DeployError(
            f"the stack {stack} is {status} and cannot be changed; remove it with: tally aws destroy --stack {stack}"
        )
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise DeployError(f"the stack {stack} is {status}; wait until that has ended, and try again")
