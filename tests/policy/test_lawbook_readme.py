"""The README's table of lawbook keys against the reader: what is read is documented, and the reverse."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import policy.lawtables

_README = Path(policy.lawtables.__file__).with_name("README.md")
_SPANS = {"span", "required_span"}


def _read_keys() -> set[str]:
    """The keys that `policy.lawtables` asks a table for; a span is asked for by the beginning of its name."""
    keys: set[str] = set()
    for node in ast.walk(ast.parse(Path(policy.lawtables.__file__).read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        first = node.args[0]
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            continue
        name = node.func.attr
        if name in _SPANS:
            keys |= {f"{first.value}days", f"{first.value}hours"}
        elif name not in {"fault", "startswith"} and first.value:
            keys.add(first.value)
    return keys


def _documented_keys() -> set[str]:
    table = _README.read_text("utf-8").partition("| table | keys |")[2].partition("\n\n")[0]
    found: set[str] = set()
    for word in re.findall(r"`([^`]+)`", table):
        if word == "_hours":
            found.add("emergency_validation_hours")
        elif word.startswith("["):
            found.update(word.strip("[]").split("."))
        elif word not in {"any"}:
            found.add(word)
    return found


def test_every_key_of_the_lawbook_is_documented_and_every_documented_key_is_read() -> None:
    assert _read_keys() == _documented_keys()
