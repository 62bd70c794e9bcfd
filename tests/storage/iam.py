"""A small evaluator of IAM policies: what a bucket and a key let a principal do.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html, for one
account: an explicit Deny anywhere refuses; else an Allow is needed, in the principal's own policies
or in the resource's. It knows the elements and conditions that deploy/aws uses, and fails on others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Attempt:
    """Somebody tries something."""

    principal: str  # the ARN of the role
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allowed(attempt: Attempt, own: Iterable[Policy], resources: Iterable[Policy]) -> bool:
    """Whether the policies of the principal (`own`) and of the resource together allow it."""
    own_statements = [statement for policy in own for statement in policy["Statement"]]
    resource_statements = [
        statement
        for policy in resources
        for statement in policy["Statement"]
        if _is_for(statement["Principal"], attempt.principal)
    ]
    matching = [one for one in own_statements + resource_statements if _matches(one, attempt)]
    if any(one["Effect"] == "Deny" for one in matching):
        return False
    return any(one["Effect"] == "Allow" for one in matching)


def _is_for(principal: Any, arn: str) -> bool:
    if principal == "*":
        return True
    [(kind, names)] = principal.items()
    assert kind == "AWS"
    # An account's root stands for all of the account, where their own policies allow as well. It is
    # left out here: what a key gives to root alone, no role of ours has by its own policies.
    return arn in _list(names)


def _matches(statement: Policy, attempt: Attempt) -> bool:
    known = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "Condition"}
    assert statement.keys() <= known, f"unknown elements: {statement.keys() - known}"
    if "NotAction" in statement:
        acts = not _any(statement["NotAction"], attempt.action)
    else:
        acts = _any(statement["Action"], attempt.action)
    return (
        acts
        and _any(statement["Resource"], attempt.resource)
        and all(
            _holds(operator, key, values, attempt)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _holds(operator: str, key: str, values: Any, attempt: Attempt) -> bool:
    context = {"aws:PrincipalArn": attempt.principal, "aws:SecureTransport": "true", **attempt.context}
    found = context.get(key)
    match operator:
        case "ArnNotEquals":
            return not (found is not None and _any(values, found))
        case "Bool" | "StringEquals":
            return found is not None and found in _list(values)
        case _:
            raise AssertionError(f"unknown condition operator {operator}")


def _any(patterns: Any, text: str) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in _list(patterns))


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
