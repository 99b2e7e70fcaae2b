"""Messages of the CRI as plain data, and plain data as JSON, YAML or through a template.

The mapping is protobuf's JSON form with every default value written out, as crictl prints it: camel-case names in the
order of the definition, 64-bit integers as strings, enums by name, bytes in base64, absent messages left out.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crio.base.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message

ZERO_TIME = "0001-01-01T00:00:00Z"
"""How Go, and so every script around crictl, writes a time that was never set."""


def to_plain(message: Message) -> dict[str, Any]:
    """The message as dictionaries, lists and scalars."""
    plain: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            plain[field.json_name] = _repeated(field, getattr(message, field.name))
        elif not field.has_presence or message.HasField(field.name):
            plain[field.json_name] = _single(field, getattr(message, field.name))
    return plain


def _repeated(field: Any, value: Any) -> Any:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        inner = entry.fields_by_name["value"]
        return {str(key): _single(inner, value[key]) for key in sorted(value)}
    return [_single(field, item) for item in value]


def _single(field: Any, value: Any) -> Any:
    match field.cpp_type:
        case field.CPPTYPE_MESSAGE:
            return to_plain(value)
        case field.CPPTYPE_INT64 | field.CPPTYPE_UINT64:
            return str(value)
        case field.CPPTYPE_ENUM:
            known = field.enum_type.values_by_number.get(value)
            return known.name if known is not None else value
        case field.CPPTYPE_STRING:
            return base64.b64encode(value).decode() if field.type == field.TYPE_BYTES else value
        case field.CPPTYPE_DOUBLE if value != value or value in (float("inf"), float("-inf")):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        case _:
            return value


def set_fields(message: Message) -> dict[str, Any]:
    """The message with the definition's own field names and without default values.

    crictl prints the handlers and features of `info` in this form.
    """
    plain: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.is_repeated:
            plain[field.name] = [set_fields(item) if field.message_type is not None else item for item in value]
        else:
            plain[field.name] = set_fields(value) if field.message_type is not None else value
    return plain


def timestamp(nanoseconds: int) -> str:
    """A moment in local time as RFC 3339 with up to nine decimals, as Go prints it."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if fraction:
        text += f".{fraction:09d}".rstrip("0")
    offset = moment.strftime("%z")
    return text + ("Z" if offset in ("+0000", "") else f"{offset[:3]}:{offset[3:5]}")


def timestamp_words(nanoseconds: int) -> str:
    """As Go prints a time without a format: `2026-01-02 03:04:05.6 +0000 UTC`."""
    text = timestamp(nanoseconds)
    zone = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).astimezone()
    return f"{text[:10]} {text[11:19]}{text[19:].rstrip('Z').split('+')[0].split('-')[0]} {zone:%z} {zone:%Z}"


def status_document(status: Mapping[str, Any], info: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """What inspect, inspectp, inspecti and info print: the status and the verbose information beside it.

    An information value that is a JSON object becomes one.
    """
    document: dict[str, Any] = {"status": dict(status), **more}
    for key in sorted(info):
        text = info[key]
        document[key] = text.strip('"')
        if text.startswith("{"):
            try:
                document[key] = json.loads(text)
            except ValueError:
                pass
    return document


def with_all_fields(message: Message, plain: Mapping[str, Any]) -> dict[str, Any]:
    """`plain` with null for every absent message, which crictl's status documents have."""
    return {field.json_name: plain.get(field.json_name) for field in message.DESCRIPTOR.fields}


def write(data: Any, output: str, template: str = "", *, sort_keys: bool = False) -> None:
    """Print `data` as `output` says: json, yaml, go-template, or a field path in braces.

    Raises InvalidArgument for an unknown format and for a template that does not fit the data.
    """
    text = format_text(data, output, template, sort_keys=sort_keys)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def format_text(data: Any, output: str, template: str = "", *, sort_keys: bool = False) -> str:
    """As `write`, returned."""
    if output == "json":
        return json.dumps(data, indent=2, ensure_ascii=False, sort_keys=sort_keys)
    if output == "yaml":
        return _yaml(data)
    kind, separator, inline = output.partition("=")
    if kind == "go-template" or output.startswith("{"):
        from crio.cli.crioctl.template import expand  # lazy: rarely asked for

        text = output if output.startswith("{") else inline if separator else template
        if not text:
            raise InvalidArgument("cannot print with -o go-template: --template is missing")
        return expand(text, data)
    raise InvalidArgument(
        f"cannot print as {output!r}: choose json, yaml, table, go-template or a path such as {{.id}}"
    )


def is_table(output: str) -> bool:
    return output in ("table", "")


def single_or_list(documents: Sequence[Any]) -> Any:
    """One document is printed as itself, several as a list, as crictl does."""
    return documents[0] if len(documents) == 1 else list(documents)


def _yaml(data: Any) -> str:
    import yaml  # lazy: 20 ms

    class Dumper(yaml.SafeDumper):
        """Quotes with double quotes, as Go's library does."""

        def choose_scalar_style(self) -> Any:
            style = super().choose_scalar_style()
            return '"' if style == "'" else style

    return str(yaml.dump(data, Dumper=Dumper, sort_keys=True, allow_unicode=True, default_flow_style=False))


def show_map(title: str, values: Mapping[str, str]) -> None:
    """Labels or annotations in a paragraph, nothing if there are none."""
    if values:
        print(f"{title}:")
        for key in sorted(values):
            print(f"\t{key} -> {values[key]}")


def show_info(info: Mapping[str, str]) -> None:
    """Verbose information in a paragraph, as Go prints a map."""
    print(f"Info: map[{' '.join(f'{key}:{info[key]}' for key in sorted(info))}]")
