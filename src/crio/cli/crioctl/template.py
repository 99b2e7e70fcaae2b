"""The part of Go's templates that people use with inspection commands, and a short form of it.

`{{.status.id}}` inserts a field; `{{range .items}}...{{end}}`, `{{if .a}}...{{else}}...{{end}}` and `{{with .a}}` do
what they do in Go; `json`, `len`, `index`, `lower`, `upper`, `title`, `eq`, `ne`, `not` and pipes work; `-` trims.
The short form has single braces and no actions: `{.status.id}`, `{.items[0].id}`, `{.items[*].metadata.name}`.
A field that does not exist is an error, as in crictl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crio.base.errors import InvalidArgument

_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|`[^`]*`|\||\(|\)(?:\.[\w.]+)?|[^\s|()"`]+)')
_SHORT = re.compile(r"\{([^{}]*)\}")
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\.\[?'([^']+)'\]?|\[(\d+|\*|'[^']*'|\"[^\"]*\")\]|\.(?=$|\[)")
MAX_DEPTH = 50


def expand(text: str, data: Any) -> str:
    """The template filled with `data`. Raises InvalidArgument for a mistake in it or a missing field."""
    if "{{" not in text:
        return _SHORT.sub(lambda match: _short(match[1].strip(), data), text).replace("\\n", "\n").replace("\\t", "\t")
    nodes, _ = _parse(_pieces(text), 0, 0)
    return _render(nodes, data, data)


def _short(path: str, data: Any) -> str:
    values = [data]
    position = 0
    if not path.startswith((".", "[")):
        path = f".{path}"
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise InvalidArgument(f"cannot use the path {path!r}: {path[position:]!r} is not a field or an index")
        position = match.end()
        key = match[1] or match[2] or (match[3] or "").strip("'\"")
        if match[3] == "*":
            values = [item for value in values for item in (value.values() if isinstance(value, dict) else value)]
        elif key:
            values = [_member(value, key) for value in values]
    return " ".join(_text(value, compact=True) for value in values)


@dataclass(slots=True)
class _Node:
    kind: str
    text: str = ""
    body: list[_Node] = field(default_factory=list)
    otherwise: list[_Node] = field(default_factory=list)


def _pieces(text: str) -> list[_Node]:
    pieces: list[_Node] = []
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        literal = text[position : match.start()]
        literal = literal.lstrip() if trim else literal
        pieces.append(_Node("text", literal.rstrip() if match[1] else literal))
        if not match[2].startswith("/*"):
            pieces.append(_Node("action", match[2]))
        position, trim = match.end(), bool(match[3])
    rest = text[position:]
    if "{{" in rest:
        raise InvalidArgument(f"cannot use the template: {rest[rest.index('{{') :][:40]!r} is not closed")
    pieces.append(_Node("text", rest.lstrip() if trim else rest))
    return pieces


def _parse(pieces: Sequence[_Node], position: int, depth: int) -> tuple[list[_Node], int]:
    """The nodes up to this block's `else` or `end`, whose position is returned."""
    nodes: list[_Node] = []
    while position < len(pieces):
        piece = pieces[position]
        word = piece.text.split(maxsplit=1)[0] if piece.kind == "action" and piece.text else ""
        if word in ("range", "if", "with"):
            if depth >= MAX_DEPTH:
                raise InvalidArgument(f"cannot use the template: more than {MAX_DEPTH} blocks within each other")
            block = _Node(word, piece.text[len(word) :].strip())
            block.body, position = _parse(pieces, position + 1, depth + 1)
            if position < len(pieces) and (tail := pieces[position].text).startswith("else"):
                if tail != "else":
                    raise InvalidArgument(f"cannot use the template: {tail!r} is not supported, nest the condition")
                block.otherwise, position = _parse(pieces, position + 1, depth + 1)
            if position >= len(pieces) or pieces[position].text != "end":
                raise InvalidArgument(f"cannot use the template: {{{{{word}}}}} has no {{{{end}}}}")
            nodes.append(block)
        elif word in ("else", "end"):
            if depth == 0:
                raise InvalidArgument(f"cannot use the template: {{{{{word}}}}} without a block")
            return nodes, position
        else:
            nodes.append(piece)
        position += 1
    return nodes, position


def _render(nodes: Sequence[_Node], data: Any, root: Any) -> str:
    parts: list[str] = []
    for node in nodes:
        if node.kind == "text":
            parts.append(node.text)
            continue
        value = _evaluate(node.text, data, root)
        if node.kind == "action":
            parts.append(_text(value))
        elif node.kind == "range" and value:
            items = [value[key] for key in sorted(value)] if isinstance(value, dict) else value
            parts += [_render(node.body, item, root) for item in items]
        elif node.kind != "range" and value:
            parts.append(_render(node.body, value if node.kind == "with" else data, root))
        else:
            parts.append(_render(node.otherwise, data, root))
    return "".join(parts)


def _evaluate(text: str, data: Any, root: Any) -> Any:
    tokens = _TOKEN.findall(text)
    if "".join(tokens).replace(" ", "") != re.sub(r"\s", "", text).replace(" ", "") or not tokens:
        raise InvalidArgument(f"cannot use the template: {text!r} is not understood")
    value, position = _pipeline(tokens, 0, data, root)
    if position != len(tokens):
        raise InvalidArgument(f"cannot use the template: {text!r} has a ')' too many")
    return value


def _pipeline(tokens: Sequence[str], position: int, data: Any, root: Any) -> tuple[Any, int]:
    piped: list[Any] = []
    while True:
        arguments: list[Any] = []
        function = ""
        while position < len(tokens) and tokens[position] != "|" and tokens[position][0] != ")":
            token = tokens[position]
            position += 1
            if token == "(":
                value, position = _pipeline(tokens, position, data, root)
                if position >= len(tokens):
                    raise InvalidArgument("cannot use the template: a '(' is not closed")
                value = _fields(value, tokens[position][1:])
                position += 1
                arguments.append(value)
            elif not function and not arguments and token in _FUNCTIONS:
                function = token
            else:
                arguments.append(_operand(token, data, root))
        arguments += piped
        if function:
            piped = [_call(function, arguments)]
        elif len(arguments) == 1:
            piped = arguments
        else:
            raise InvalidArgument("cannot use the template: a value was expected, or a function before its arguments")
        if position >= len(tokens) or tokens[position][0] == ")":
            return piped[0], position
        position += 1


def _operand(token: str, data: Any, root: Any) -> Any:
    if token.startswith('"'):
        try:
            return json.loads(token)
        except ValueError:
            raise InvalidArgument(
                f"cannot use the template: {token} is no text, because of what follows a \\ in it"
            ) from None
    if token.startswith("`"):
        return token[1:-1]
    if token in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[token]
    if re.fullmatch(r"-?\d+", token):
        return int(token)
    start = root if token.startswith("$") else data
    path = token.removeprefix("$")
    if path and not path.startswith("."):
        raise InvalidArgument(f"cannot use the template: there is no function {token!r}")
    return _fields(start, path)


def _fields(value: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        value = _member(value, name)
    return value


def _member(value: Any, key: str) -> Any:
    if isinstance(value, dict) and key in value:
        return value[key]
    if isinstance(value, list) and key.isdigit() and int(key) < len(value):
        return value[int(key)]
    known = f"; it has {', '.join(sorted(value)[:20])}" if isinstance(value, dict) and value else ""
    raise InvalidArgument(f"cannot fill the template: there is no field {key!r}{known}")


def _call(name: str, arguments: list[Any]) -> Any:
    least, most, function = _FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        raise InvalidArgument(f"cannot fill the template: {name} got {len(arguments)} arguments")
    try:
        return function(*arguments)
    except TypeError:
        raise InvalidArgument(
            f"cannot fill the template: {name} does not work on {_text(arguments[0])[:60]!r}"
        ) from None


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = _member(value, str(key))
    return value


_FUNCTIONS: dict[str, tuple[int, int, Any]] = {
    "json": (1, 1, lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True)),
    "len": (1, 1, len),
    "index": (1, 20, _index),
    "lower": (1, 1, lambda value: _text(value).lower()),
    "upper": (1, 1, lambda value: _text(value).upper()),
    "title": (1, 1, lambda value: re.sub(r"\b[a-z]", lambda match: match[0].upper(), _text(value))),
    "not": (1, 1, lambda value: not value),
    "eq": (2, 20, lambda value, *others: value in others),
    "ne": (2, 2, lambda value, other: value != other),
    "and": (1, 20, lambda *values: next((value for value in values if not value), values[-1])),
    "or": (1, 20, lambda *values: next((value for value in values if value), values[-1])),
    "print": (0, 20, lambda *values: "".join(map(_text, values))),
    "println": (0, 20, lambda *values: " ".join(map(_text, values)) + "\n"),
}


def _text(value: Any, *, compact: bool = False) -> str:
    """As Go's `print`: maps as map[a:1 b:2], lists as [1 2]; or as JSON when `compact`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "" if compact else "<no value>"
    if isinstance(value, dict | list):
        if compact:
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict):
            return "map[" + " ".join(f"{key}:{_text(value[key])}" for key in sorted(value)) + "]"
        return "[" + " ".join(map(_text, value)) + "]"
    return str(value)
