"""Pod and container configurations from JSON or YAML files, as crictl reads them.

Field names may be written as in the CRI's definition (log_directory), in camel case (logDirectory) or in any mixture of
upper and lower case; enums by number or name; 64-bit numbers also as strings; a number where a text belongs is taken as
text. Environment values are plain text. Unlike crictl, a field that does not exist is refused: a typing error would
otherwise silently make a pod that is not what was written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import CrioError, InvalidArgument, NotFound
from crio.base.files import read_bounded

if TYPE_CHECKING:
    from google.protobuf.message import Message

MAX_BYTES = 4 << 20
Config = TypeVar("Config", pb.PodSandboxConfig, pb.ContainerConfig)


def load_pod(path: str) -> pb.PodSandboxConfig:
    """The pod configuration in `path`, with a uid made up if it has none. Raises NotFound, InvalidArgument."""
    config = _load(path, pb.PodSandboxConfig())
    if not config.HasField("metadata"):
        raise InvalidArgument(f"cannot use the pod configuration {path}: metadata is not set")
    if not config.metadata.name or not config.metadata.namespace:
        raise InvalidArgument(f"cannot use the pod configuration {path}: metadata needs a name and a namespace")
    if not config.metadata.uid:
        import uuid  # lazy: most files have one

        config.metadata.uid = str(uuid.uuid4())
    return config


def load_container(path: str) -> pb.ContainerConfig:
    """The container configuration in `path`. Raises NotFound, InvalidArgument."""
    config = _load(path, pb.ContainerConfig())
    if not config.metadata.name:
        raise InvalidArgument(f"cannot use the container configuration {path}: metadata.name is not set")
    if not config.image.image:
        raise InvalidArgument(f"cannot use the container configuration {path}: image.image is not set")
    if not config.image.user_specified_image:
        config.image.user_specified_image = config.image.image
    return config


def _load(path: str, message: Config) -> Config:
    kind = "pod" if isinstance(message, pb.PodSandboxConfig) else "container"
    try:
        text = read_bounded(path, MAX_BYTES).decode()
        fill(message, _document(text), "")
    except FileNotFoundError:
        raise NotFound(f"cannot read the {kind} configuration {path}: no such file") from None
    except OSError as error:
        raise InvalidArgument(f"cannot read the {kind} configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"cannot use the {kind} configuration {path}: it is not UTF-8 text") from None
    except CrioError as error:
        raise InvalidArgument(f"cannot use the {kind} configuration {path}: {error.message}") from None
    return message


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        json_error = error if text.lstrip().startswith("{") and "\n#" not in text else None
    import yaml  # lazy: 20 ms, and JSON files do not need it

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = json_error or error
        raise InvalidArgument(" ".join(str(reason).split())) from None


def fill(message: Message, data: Any, where: str) -> None:
    """Set the message's fields from plain data. `where` is the path for error messages. Raises InvalidArgument."""
    if not isinstance(data, dict):
        raise InvalidArgument(f"{where or 'the file'} holds {_kind(data)}, and should hold fields")
    fields = {}
    for field in message.DESCRIPTOR.fields:
        for spelling in (field.name, field.json_name):
            fields[spelling.lower()] = field
    for key, value in data.items():
        path = f"{where}.{key}" if where else str(key)
        known = fields.get(str(key).lower())
        if known is None:
            raise InvalidArgument(f"there is no field {path}{_suggestion(str(key), message)}")
        if value is None:
            continue
        if known.is_repeated and known.message_type is not None and known.message_type.GetOptions().map_entry:
            _fill_map(message, known, value, path)
        elif known.is_repeated:
            _fill_list(message, known, value, path)
        elif known.message_type is not None:
            child = getattr(message, known.name)
            child.SetInParent()
            if known.message_type.name in ("Int64Value", "UInt64Value") and not isinstance(value, dict):
                child.value = _number(known.message_type.fields_by_name["value"], value, path)
            else:
                fill(child, value, path)
        else:
            setattr(message, known.name, _scalar(known, value, path))


def _fill_map(message: Message, field: Any, data: Any, path: str) -> None:
    if not isinstance(data, dict):
        raise InvalidArgument(f"{path} holds {_kind(data)}, and should hold keys and values")
    value_field = field.message_type.fields_by_name["value"]
    target = getattr(message, field.name)
    for key, value in data.items():
        target[str(key)] = _scalar(value_field, "" if value is None else value, f"{path}.{key}")


def _fill_list(message: Message, field: Any, data: Any, path: str) -> None:
    if not isinstance(data, list):
        raise InvalidArgument(f"{path} holds {_kind(data)}, and should hold a list")
    target = getattr(message, field.name)
    for index, item in enumerate(data):
        if field.message_type is not None:
            fill(target.add(), item, f"{path}[{index}]")
        else:
            target.append(_scalar(field, item, f"{path}[{index}]"))


def _scalar(field: Any, value: Any, path: str) -> Any:
    match field.cpp_type:
        case field.CPPTYPE_STRING:
            if isinstance(value, dict | list):
                raise InvalidArgument(f"{path} holds {_kind(value)}, and should hold a text")
            text = value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
            return text.encode() if field.type == field.TYPE_BYTES else text
        case field.CPPTYPE_BOOL:
            if isinstance(value, bool):
                return value
            raise InvalidArgument(f"{path} holds {_kind(value)}, and should be true or false")
        case field.CPPTYPE_ENUM:
            names = field.enum_type.values_by_name
            if isinstance(value, str) and value in names:
                return names[value].number
            if isinstance(value, str) and not value.isdigit():
                raise InvalidArgument(f"{path} is {value!r}, and should be one of {', '.join(list(names)[:10])}")
            return _number(field, value, path)
        case _:
            return _number(field, value, path)


_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1), "uint32": (0, (1 << 32) - 1)}


def _number(field: Any, value: Any, path: str) -> int:
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise InvalidArgument(f"{path} is {value!r}, and should be a number") from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{path} holds {_kind(value)}, and should be a whole number")
    kinds = {field.CPPTYPE_INT64: "int64", field.CPPTYPE_UINT32: "uint32", field.CPPTYPE_UINT64: "uint64"}
    low, high = _RANGES.get(kinds.get(field.cpp_type, "int32"), (0, (1 << 64) - 1))
    if not low <= value <= high:
        raise InvalidArgument(f"{path} is {value}, which is not between {low} and {high}")
    return value


def _suggestion(key: str, message: Message) -> str:
    import difflib  # lazy: only for mistakes

    names = [field.name for field in message.DESCRIPTOR.fields]
    near = difflib.get_close_matches(key.lower(), names, 1)
    return f"; did you mean {near[0]}?" if near else f"; known here are {', '.join(names)}"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "fields"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"[:60]
