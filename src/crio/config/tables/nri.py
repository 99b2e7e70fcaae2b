"""[crio.nri]: Node Resource Interface plug-ins."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from crio.config.key import RESTART, Key, Unit


class DefaultValidator(Struct, frozen=True):
    """[crio.nri.default_validator]: refuses containers for which a plug-in asked too much."""

    nri_enable_default_validator: Annotated[bool, Key("Check what NRI plug-ins ask for.", RESTART, env="")] = False
    nri_validator_reject_oci_hook_adjustment: Annotated[
        bool, Key("Refuse a container to which a plug-in adds OCI hooks.", RESTART, env="")
    ] = False
    nri_validator_reject_runtime_default_seccomp_adjustment: Annotated[
        bool, Key("Refuse a container whose RuntimeDefault seccomp profile a plug-in changes.", RESTART, env="")
    ] = False
    nri_validator_reject_unconfined_seccomp_adjustment: Annotated[
        bool, Key("Refuse a container whose Unconfined seccomp profile a plug-in changes.", RESTART, env="")
    ] = False
    nri_validator_reject_custom_seccomp_adjustment: Annotated[
        bool, Key("Refuse a container whose Localhost seccomp profile a plug-in changes.", RESTART, env="")
    ] = False
    nri_validator_reject_namespace_adjustment: Annotated[
        bool, Key("Refuse a container whose namespaces a plug-in changes.", RESTART, env="")
    ] = False
    nri_validator_required_plugins: Annotated[
        tuple[str, ...], Key("Plug-ins without which no container is created.", RESTART, env="")
    ] = ()
    nri_validator_tolerate_missing_plugins_annotation: Annotated[
        str, Key("Annotation with which a pod may do without the required plug-ins.", RESTART, env="")
    ] = ""


class Nri(Struct, frozen=True):
    """[crio.nri]"""

    enable_nri: Annotated[bool, Key("Let NRI plug-ins see and adjust containers.", RESTART, env="")] = True
    nri_listen: Annotated[str, Key("Unix socket on which NRI plug-ins connect.", RESTART, env="")] = (
        "/var/run/nri/nri.sock"
    )
    nri_plugin_dir: Annotated[
        str, Key("Directory of NRI plug-ins that are started with the daemon.", RESTART, env="")
    ] = "/opt/nri/plugins"
    nri_plugin_config_dir: Annotated[str, Key("Directory of configurations of these plug-ins.", RESTART, env="")] = (
        "/etc/nri/conf.d"
    )
    nri_disable_connections: Annotated[
        bool, Key("Refuse plug-ins that were not started with the daemon.", RESTART, env="")
    ] = False
    nri_plugin_registration_timeout: Annotated[
        float, Key("Time in which a plug-in must register.", RESTART, unit=Unit.DURATION, env="")
    ] = 5.0
    nri_plugin_request_timeout: Annotated[
        float, Key("Time in which a plug-in must answer a request.", RESTART, unit=Unit.DURATION, env="")
    ] = 2.0
    default_validator: DefaultValidator = DefaultValidator()
