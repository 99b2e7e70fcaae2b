"""[crio.image]: pulling, trust, pinned images, image volumes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import WATCHED, Key, Unit


class Image(Struct, frozen=True):
    """[crio.image]"""

    default_transport: Annotated[str, Key("Transport of image names that name none themselves.")] = "docker://"
    global_auth_file: Annotated[
        str,
        Key("File with registry credentials in the format of containers-auth.json, for pulls whose request has none."),
    ] = ""
    namespaced_auth_dir: Annotated[
        str,
        Key(
            "Directory with credentials for one pull each, NAMESPACE-SHA256.json, where SHA256 is that of the "
            "image name. A file is used once and removed. An absolute path."
        ),
    ] = "/etc/crio/auth"
    pause_image: Annotated[
        str,
        Key("Image of the infra container for pods that need one (VM runtimes). It is pinned."),
    ] = "registry.k8s.io/pause:3.10.1"
    pause_image_auth_file: Annotated[str, Key("File with registry credentials for pause_image.")] = ""
    pause_command: Annotated[str, Key("Command that runs in pause_image. Empty: the image's own.")] = "/pause"
    pinned_images: Annotated[
        tuple[str, ...],
        Key('Images which garbage collection must leave alone: an exact name, "prefix*", or "*keyword*".'),
    ] = ()
    signature_policy: Annotated[
        str,
        Key("Trust policy for images (policy.json). Empty: the file of the system, /etc/containers/policy.json."),
    ] = ""
    signature_policy_dir: Annotated[
        str,
        Key("Directory with trust policies for pod namespaces, NAMESPACE.json. An absolute path."),
    ] = "/etc/crio/policies"
    image_volumes: Annotated[
        str,
        Key(
            "What becomes of volumes that an image declares. mkdir: a directory in the container's root; bind: a "
            "directory of the container mounted there; ignore: nothing.",
            choices=("mkdir", "bind", "ignore"),
        ),
    ] = "mkdir"
    insecure_registries: Annotated[
        tuple[str, ...],
        Key(
            "Registries that may be spoken to without TLS. It has no effect.",
            deprecated="set insecure = true in registries.conf",
            flag="insecure-registry",
            env="CONTAINER_INSECURE_REGISTRY",
        ),
    ] = ()
    big_files_temporary_dir: Annotated[str, Key("Directory for what interrupted pulls keep. Empty: tmp in root.")] = ""
    auto_reload_registries: Annotated[
        bool,
        Key(
            "Follow registries.conf.d, and take changes over at once rather than at SIGHUP.",
            WATCHED,
            env="AUTO_RELOAD_REGISTRIES",
        ),
    ] = False
    pull_progress_timeout: Annotated[
        float,
        Key(
            "A pull that makes no progress for so long is cancelled; its progress is logged ten times in that "
            'period. "0s": no limit and no such lines.',
            unit=Unit.DURATION,
        ),
    ] = 0.0
    oci_artifact_mount_support: Annotated[
        bool, Key("Let OCI artifacts be mounted as image volumes.", env="CONTAINER_OCI_ARTIFACT_SUPPORT")
    ] = True
    short_name_mode: Annotated[
        str,
        Key(
            "What becomes of image names without a registry that could mean more than one image. enforcing: they "
            "are refused; disabled: the search registries are tried in turn.",
            choices=("enforcing", "disabled", ""),
        ),
    ] = "enforcing"
