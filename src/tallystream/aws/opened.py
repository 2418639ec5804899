"""A stack as `tally up --aws` serves it: found with AWS's usual settings. The composition root of that command."""

from typing import NamedTuple

from tallystream.aws.deploy import Account, check_stack_name
from tallystream.aws.deployed import Deployed, read_deployed
from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.site import StackPlace, session_client, stack_services
from tallystream.web.services import RemoteServices, Tokens


class OpenedStack(NamedTuple):
    """A stack, and what the application is handed of it."""

    deployed: Deployed
    services: RemoteServices


def open_stack(stack: str, region: str | None, tokens: Tokens) -> OpenedStack:
    """
    Find a stack with AWS's usual settings.

    Raises:
        DeployError: there is no such stack, or AWS refuses.
    """
    account = Account(region)
    deployed = read_deployed(account, check_stack_name(stack))

    import boto3

    session = boto3.Session(region_name=account.region)
    table = DynamoDBTable(session_client(session), deployed.table)
    place = StackPlace(stack, account.region, deployed.stream)
    kinesis, cloudwatch = session.client("kinesis"), session.client("cloudwatch")
    services = stack_services(place, deployed.definition, deployed.layout, table, kinesis, cloudwatch, tokens)
    return OpenedStack(deployed, services)
