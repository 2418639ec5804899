"""The web application in the template: a function behind a URL of its own, and the secret that it asks readers for."""

from typing import Any, Final

from tallystream.aws.cloudformation import Resource, attribute, ref, substitute
from tallystream.aws.template_function import StackSettings, allow, function_resources

_MEMORY_MB: Final = 512  # and with it the processor that the first request after a pause waits for


def pages_resources(settings: StackSettings) -> dict[str, Resource]:
    """Return the function that serves the pages, its URL, and the read token, which CloudFormation draws."""
    permissions = [
        allow(["dynamodb:Query"], attribute("Table", "Arn")),
        # How far counting is behind is asked of the stream itself.
        allow(["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"], attribute("Stream", "Arn")),
        allow(["secretsmanager:GetSecretValue"], ref("PagesToken")),
    ]
    environment = {
        "TALLY_STACK": ref("AWS::StackName"),
        "TALLY_STREAM": ref("Stream"),
        "TALLY_READ_TOKEN_SECRET": ref("PagesToken"),
    }
    resources = function_resources("Pages", "pages", permissions, environment, settings, module="pages")
    resources["PagesFunction"]["Properties"] |= {"MemorySize": _MEMORY_MB, "Timeout": 30}
    return {
        **resources,
        "PagesToken": {
            "Type": "AWS::SecretsManager::Secret",
            "UpdateReplacePolicy": "Delete",
            "DeletionPolicy": "Delete",
            "Properties": {
                "Description": substitute("The read token of the pages of ${AWS::StackName}"),
                "GenerateSecretString": {"PasswordLength": 40, "ExcludePunctuation": True},
            },
        },
        "PagesUrl": {
            "Type": "AWS::Lambda::Url",
            # The token is what lets in: a browser cannot sign requests as AWS_IAM wants them.
            "Properties": {"TargetFunctionArn": ref("PagesFunction"), "AuthType": "NONE", "InvokeMode": "BUFFERED"},
        },
        "PagesUrlPermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": ref("PagesFunction"),
                "Principal": "*",
                "Action": "lambda:InvokeFunctionUrl",
                "FunctionUrlAuthType": "NONE",
            },
        },
        # Since October 2025 a URL wants this one as well, bounded to itself.
        "PagesInvokePermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": ref("PagesFunction"),
                "Principal": "*",
                "Action": "lambda:InvokeFunction",
                "InvokedViaFunctionUrl": True,
            },
        },
    }


def pages_outputs() -> dict[str, Any]:
    """Return where the pages are, and what to sign in with."""
    return {
        "PagesUrl": {"Description": "The pages, for whoever has the token.", "Value": attribute("PagesUrl", "FunctionUrl")},
        "PagesToken": {"Description": "The secret that holds the token.", "Value": ref("PagesToken")},
    }
