"""A function of the template: what can be chosen of it, its role, its log group."""

from typing import Any, Final, Literal

import msgspec

from tallystream.aws.cloudformation import Resource, attribute, ref, substitute

Architecture = Literal["arm64", "x86_64"]

PYTHON: Final = "3.13"
WRAPPER: Final = "tally-runtime"
"""The program in the package that starts our own runtime in the place of the stock one."""


class StackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen of a stack beside the definition."""

    architecture: Architecture = "arm64"
    batch_window_s: int = 5  # 1 to 300: how long a batch may wait for more; longer means fewer writes and later numbers
    memory_mb: int = 256
    groups_max: int = 10_000  # of a counter, kept apart; changing it, or write_shards, begins new rows
    write_shards: int = 1  # partitions of a series' rows
    log_retention_days: int = 30
    dashboard: bool = False  # the web application behind a function URL, too


def function_resources(
    name: str,
    word: str,
    permissions: list[Resource],
    environment: dict[str, Any],
    settings: StackSettings,
    module: str = "handlers",
) -> dict[str, Resource]:
    """
    Return a function with its role and its log group.

    Args:
        name: that its resources' logical ids begin with.
        word: what people know it by; its handler is called so.
        permissions: statements of what it may do, beside writing its log.
        environment: variables beside those that each has.
        settings: of the stack.
        module: of tallystream.aws, in which its handler is.
    """
    logs = attribute(f"{name}Logs", "Arn")
    statements = [
        allow(["logs:CreateLogStream", "logs:PutLogEvents"], logs),
        *permissions,
    ]
    return {
        f"{name}Logs": {
            "Type": "AWS::Logs::LogGroup",
            "UpdateReplacePolicy": "Delete",
            "DeletionPolicy": "Delete",
            "Properties": {
                "LogGroupName": substitute(f"/tallystream/${{AWS::StackName}}/{word}"),
                "RetentionInDays": settings.log_retention_days,
            },
        },
        f"{name}Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": _policy(
                    [
                        {
                            "Effect": "Allow",
                            "Principal": {"Service": "lambda.amazonaws.com"},
                            "Action": "sts:AssumeRole",
                        }
                    ]
                ),
                "Policies": [{"PolicyName": word, "PolicyDocument": _policy(statements)}],
            },
        },
        f"{name}Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Description": substitute(f"Tallystream ${{AWS::StackName}}: {word}"),
                "Runtime": f"python{PYTHON}",
                "Architectures": [settings.architecture],
                "Handler": f"tallystream.aws.{module}.{word}_handler",
                "Code": {"S3Bucket": ref("CodeBucket"), "S3Key": ref("CodeKey")},
                "Role": attribute(f"{name}Role", "Arn"),
                "MemorySize": settings.memory_mb,
                "Timeout": 120,
                "LoggingConfig": {
                    "LogGroup": ref(f"{name}Logs"),
                    "LogFormat": "JSON",
                    "ApplicationLogLevel": "INFO",
                    "SystemLogLevel": "WARN",
                },
                "Environment": {
                    "Variables": {
                        "AWS_LAMBDA_EXEC_WRAPPER": f"/var/task/{WRAPPER}",
                        "TALLY_TABLE": ref("Table"),
                        "TALLY_GROUPS_MAX": str(settings.groups_max),
                        "TALLY_WRITE_SHARDS": str(settings.write_shards),
                        **environment,
                    }
                },
            },
        },
    }


def allow(actions: list[str], resource: Resource | str) -> Resource:
    """Return a statement of a policy."""
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def _policy(statements: list[Resource]) -> Resource:
    return {"Version": "2012-10-17", "Statement": statements}
