"""AppArmor: which profile a container runs under, and the profile that RuntimeDefault means.

Profiles are of two spellings: the SecurityProfile message, and before it a string ("runtime/default", "unconfined",
"localhost/NAME"). Both are understood.
"""

from __future__ import annotations

import logging
import os
import shutil

from crio.api.runtime.v1 import api_pb2 as pb
from crio.base.errors import FailedPrecondition, InvalidArgument
from crio.base.process import ProcessFailed, run
from crio.base.regex import regex
from crio.linux import apparmor

log = logging.getLogger(__name__)

DEFAULT_PROFILE = "crio-default"
_LOAD_TIMEOUT = 30
_NAME = regex(r"[\w./@+-][\w ./@+:-]{0,254}")
_TUNABLES = "/etc/apparmor.d/tunables/global"
_BASE = "/etc/apparmor.d/abstractions/base"

_TEMPLATE = """\
{tunables}
profile {name} flags=(attach_disconnected, mediate_deleted) {{
  {base}
  network,
  capability,
  file,
  umount,

  # The daemon and the runtime stop containers; a container's processes may signal each other.
  signal (receive) peer=unconfined,
  signal (receive) peer={{/usr/bin/,/usr/sbin/,}}{{runc,crun*,crio}},
  signal (send, receive) peer={name},
  ptrace (read, trace) peer={name},

  deny mount,

  # /proc: only the directories of processes, and of /proc/sys only the shared memory limits.
  deny @{{PROC}}/* w,
  deny @{{PROC}}/[^1-9s]*/** w,
  deny @{{PROC}}/s[^y]*/** w,
  deny @{{PROC}}/sy[^s]*/** w,
  deny @{{PROC}}/sys?*/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/k[^e]** w,
  deny @{{PROC}}/sys/kernel/[^s]** w,
  deny @{{PROC}}/sys/kernel/s[^h]** w,
  deny @{{PROC}}/sys/kernel/sh[^m]** w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  # /sys: nothing but the container's control group.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def requested(context: pb.LinuxContainerSecurityContext) -> pb.SecurityProfile:
    """The profile that a container asks for, whichever spelling it uses. Raises InvalidArgument for another string."""
    if context.HasField("apparmor"):
        return context.apparmor
    text = context.apparmor_profile
    if text in ("", "runtime/default"):
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
    if text == "unconfined":
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)
    if text.startswith("localhost/"):
        return pb.SecurityProfile(
            profile_type=pb.SecurityProfile.Localhost, localhost_ref=text.removeprefix("localhost/")
        )
    raise InvalidArgument(
        f"cannot use AppArmor profile {text[:100]!r}: it is none of runtime/default, unconfined, localhost/NAME"
    )


def resolve(
    context: pb.LinuxContainerSecurityContext,
    *,
    enabled: bool,
    default: str = DEFAULT_PROFILE,
    privileged: bool = False,
) -> str:
    """The profile's name for the specification; "" is unconfined.

    Raises InvalidArgument for a localhost profile that is malformed or not loaded, FailedPrecondition for one on a
    kernel without AppArmor. There, RuntimeDefault is unconfined. Privileged containers always are.
    """
    if privileged:
        return ""
    profile = requested(context)
    if profile.profile_type == pb.SecurityProfile.RuntimeDefault:
        return default if enabled and default != "unconfined" else ""
    if profile.profile_type == pb.SecurityProfile.Unconfined:
        # An empty name would inherit the runtime's own confinement, if it has one.
        return "unconfined" if enabled else ""
    if profile.profile_type != pb.SecurityProfile.Localhost:
        raise InvalidArgument(
            f"cannot use an AppArmor profile of type {profile.profile_type}: it is not known to this release"
        )
    name = profile.localhost_ref.removeprefix("localhost/")
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"cannot use AppArmor profile {name[:100]!r}: it is no name of a profile")
    if not enabled:
        raise FailedPrecondition(f"cannot use AppArmor profile {name}: AppArmor is not enabled on this node")
    if name != default and not apparmor.is_loaded(name):
        raise InvalidArgument(f"cannot use AppArmor profile {name}: it is not loaded; load it with apparmor_parser")
    return name


def default_profile_text(name: str = DEFAULT_PROFILE, *, tunables: bool = True, abstractions: bool = True) -> str:
    """The source of the default profile, for apparmor_parser.

    `tunables` and `abstractions` say whether the distribution's files of these names are there to be included.
    """
    return _TEMPLATE.format(
        name=name,
        tunables="#include <tunables/global>" if tunables else "@{PROC}=/proc/",
        base="#include <abstractions/base>" if abstractions else "",
    )


async def load_default(name: str = DEFAULT_PROFILE) -> None:
    """Load the default profile if the kernel has AppArmor and no profile of that name is loaded.

    Only crio-default is made here: another name is an administrator's own profile. Raises FailedPrecondition if it is
    missing, or apparmor_parser is, or does not accept the profile.
    """
    if name == "unconfined" or not apparmor.is_enabled() or apparmor.is_loaded(name):
        return
    if name != DEFAULT_PROFILE:
        raise FailedPrecondition(
            f"cannot use AppArmor profile {name}: it is not loaded; load it, or leave apparmor_profile out of crio.conf"
        )
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if parser is None:
        raise FailedPrecondition("cannot load AppArmor profile crio-default: apparmor_parser is not installed")
    text = default_profile_text(name, tunables=os.path.exists(_TUNABLES), abstractions=os.path.exists(_BASE))
    try:
        await run([parser, "--replace", "--skip-cache"], stdin=text.encode(), timeout=_LOAD_TIMEOUT)
    except ProcessFailed as error:
        raise FailedPrecondition(f"cannot load AppArmor profile {name}: {error.completed.error_text}") from None
    log.info("AppArmor profile %s loaded", name)
