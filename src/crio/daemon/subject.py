"""Which pod, container or image a call is about: the words by which its log lines and spans are found."""

from __future__ import annotations

from typing import Any

_FIELDS = {
    "pod_sandbox_id": "pod",
    "container_id": "container",
}


def subject(request: Any) -> dict[str, str]:
    """Ids and names in a request, by the name of the log field: pod, container, pod_name, namespace, image."""
    found: dict[str, str] = {}
    for field, name in _FIELDS.items():
        value = getattr(request, field, "")
        if isinstance(value, str) and value:
            found[name] = value
    metadata: Any = getattr(getattr(request, "config", None), "metadata", None)
    namespace = getattr(metadata, "namespace", "")
    if namespace:
        found["pod_name"], found["namespace"] = metadata.name, namespace
    elif metadata is not None and metadata.name:
        found["container_name"] = metadata.name
    image = getattr(request, "image", "")
    image = image if isinstance(image, str) else getattr(image, "image", "")
    if image:
        found["image"] = image
    return found


def answered(method: str, response: Any) -> dict[str, str]:
    """The id of what a call has made."""
    if method == "RunPodSandbox":
        return {"pod": response.pod_sandbox_id}
    if method == "CreateContainer":
        return {"container": response.container_id}
    return {}
