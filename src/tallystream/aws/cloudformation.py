"""What every part of the template writes: names of resources, references, and text that begins with the stack's name."""

import hashlib
import re
from typing import Any

Resource = dict[str, Any]
"""A resource, or a part of one, as CloudFormation's JSON has it."""


def logical_id(kind: str, name: str) -> str:
    """Return what a resource is called within the template: readable, of letters and digits, another for each name."""
    words = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))
    return f"{kind}{words[:64]}{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def ref(logical: str) -> Resource:
    """Return a reference to a resource or parameter."""
    return {"Ref": logical}


def attribute(logical: str, name: str) -> Resource:
    """Return a reference to an attribute of a resource."""
    return {"Fn::GetAtt": [logical, name]}


def substitute(text: str) -> Resource:
    """Return text in which CloudFormation puts what `${…}` names; `literal` protects what is not meant."""
    return {"Fn::Sub": text}


def literal(text: str) -> str:
    """Return text so that `substitute` leaves it as it is."""
    return text.replace("${", "${!")


def in_stack(name: str) -> Resource:
    """Return a name that begins with the stack's: `web-analytics/page-views-low`."""
    return substitute(f"${{AWS::StackName}}/{literal(name)}")


def namespace() -> Resource:
    """Return the CloudWatch namespace of a stack's metrics."""
    return substitute("Tallystream/${AWS::StackName}")
