"""`build_spec`: asks every concern for its part and joins the answers. Their order is the only logic here."""

from __future__ import annotations

import posixpath

from crio.base.errors import InvalidArgument
from crio.container.record import ContainerUser
from crio.container.specgen import (
    bookkeeping,
    default_mounts,
    devices,
    env,
    hidden_paths,
    mounts,
    process,
    resources,
    root,
    seccomp,
    stop_signal,
    user,
)
from crio.container.specgen.blockio import class_of
from crio.container.specgen.draft import Draft, draft
from crio.container.specgen.gomaxprocs import VARIABLE as GOMAXPROCS
from crio.container.specgen.gomaxprocs import gomaxprocs
from crio.container.specgen.input import ContainerInput
from crio.container.specgen.namespaces import namespaces
from crio.container.specgen.plan import ContainerPlan, MakeDirectory, MakeLink
from crio.container.specgen.rlimits import resource_limits
from crio.container.specgen.umask import umask
from crio.container.specgen.user import ResolvedUser
from crio.container.specgen.workloads import apply_workload
from crio.sandbox.cgroups import runtime_path
from crio.security import apparmor, capabilities
from crio.spec import oci_runtime as oci
from crio.spec.annotations import DEVICES, find


def build_spec(given: ContainerInput) -> ContainerPlan:
    """The specification of a container, and what has to be done for it. Changes nothing.

    Raises InvalidArgument or FailedPrecondition with what is wrong in the request or image, OSError if the root cannot
    be read. About half a millisecond; no more than a few dozen system calls.
    """
    with root.opened(given.rootfs) as root_fd:
        root.check(root_fd)
        return _build(draft(given), root_fd)


def _build(of: Draft, root_fd: int) -> ContainerPlan:
    given, notes = of.given, of.notes
    args = process.arguments(given.config.command, given.config.args, given.image.entrypoint, given.image.command)
    systemd = process.runs_systemd(args[0])
    limits = _resources(of)
    nodes = _devices(of, limits)
    who = user.resolve(of.context, given.image.user, root_fd)
    variables = _environment(of, who, limits, systemd=systemd)
    asked = mounts.requested(of)
    sets = _capabilities(of)
    filter_ = _seccomp(of, sets)
    stop = stop_signal.choose(given.config.stop_signal, given.image.stop_signal, notes.warnings)
    cwd = process.working_directory(given.config.working_dir, given.image.working_directory)
    _plan_root(of, cwd)
    spec = oci.Spec(
        process=oci.Process(
            terminal=given.config.tty,
            user=oci.User(who.uid, who.gid, umask(of.pod_annotations), list(who.groups)),
            args=args,
            env=env.as_list(variables),
            cwd=cwd,
            capabilities=sets,
            rlimits=resource_limits(
                given.runtime.default_ulimits, of.pod_annotations, of.name, given.host, notes.warnings
            ),
            no_new_privileges=of.context.no_new_privs,
            apparmor_profile=apparmor.resolve(
                of.context,
                enabled=given.host.apparmor,
                default=given.runtime.apparmor_profile,
                privileged=of.privileged,
            ),
            oom_score_adj=resources.oom_score_adj(given.config.linux.resources.oom_score_adj, given.host),
            selinux_label=given.init_process_label if systemd else given.process_label,
        ),
        root=oci.Root(given.rootfs, of.read_only),
        # A runtime refuses a host name without a UTS namespace to set it in.
        hostname=given.sandbox.hostname if given.sandbox.namespaces.get("uts") else "",
        mounts=mounts.all_mounts(of, root_fd, asked, who, home=variables["HOME"], systemd=systemd),
        annotations=bookkeeping.all_annotations(
            given,
            pod=of.pod_annotations,
            container=of.container_annotations,
            volumes=asked.reported,
            seccomp_reference=filter_.reference,
            stop_signal=stop.name,
            seccomp_program=filter_.program,
        ),
        linux=oci.Linux(
            uid_mappings=list(given.sandbox.uid_mappings),
            gid_mappings=list(given.sandbox.gid_mappings),
            resources=limits,
            cgroups_path=runtime_path(given.sandbox.cgroup_parent, given.id, given.runtime.cgroup_manager),
            namespaces=namespaces(
                of.context.namespace_options,
                given.sandbox.namespaces,
                target_pid=given.target_pid_namespace,
                cgroup_version=given.host.cgroup_version,
                privileged=of.privileged,
            ),
            devices=nodes,
            seccomp=filter_.encoded,
            rootfs_propagation=asked.rootfs_propagation,
            masked_paths=_masked_paths(of, systemd=systemd),
            readonly_paths=hidden_paths.readonly_paths(of.context.readonly_paths, privileged=of.privileged),
            mount_label=given.mount_label,
        ),
    )
    _inject(of, spec)
    return ContainerPlan(
        spec=spec,
        effects=notes.effects,
        relabels=notes.relabels,
        warnings=notes.warnings,
        volumes=asked.reported,
        user=ContainerUser(who.uid, who.gid, who.groups),
        stop_signal=stop,
        seccomp_reference=filter_.reference,
        seccomp_listener=filter_.listener,
        seccomp_action=filter_.action,
    )


def _resources(of: Draft) -> oci.Resources:
    given, host = of.given, of.given.host
    limits = resources.limits(
        given.config.linux.resources, host, min_memory=given.handler.settings.container_min_memory
    )
    if host.cgroup_version == 2:
        resources.add_unified_annotation(limits, of.pod_annotations, of.name)
    apply_workload(limits, given.runtime.workloads, given.sandbox_config.annotations, of.name, host)
    resources.drop_unlimited_quota(limits)
    if given.blockio is not None and (name := class_of(of.name, given.config.annotations, of.pod_annotations)):
        if given.runtime.blockio_reload:
            given.blockio.reload()
        limits.block_io = given.blockio.get(name)
    resources.set_pids_limit(limits, given.runtime.pids_limit, host)
    resources.deny_all_devices(limits)
    return limits


def _devices(of: Draft, limits: oci.Resources) -> list[oci.Device]:
    given, runtime = of.given, of.given.runtime
    nodes: list[oci.Device] = []
    devices.add_configured(nodes, limits, runtime.additional_devices)
    annotated = find(of.pod_annotations, DEVICES)
    if annotated:
        devices.add_annotated(nodes, limits, annotated, runtime.allowed_devices)
    if of.privileged:
        devices.check_privileged(given.config.devices)
        if not given.handler.settings.privileged_without_host_devices:
            devices.add_host_devices(nodes, limits)
    owner: tuple[int | None, int | None] = (None, None)
    if runtime.device_ownership_from_security_context:
        owner = (of.context.run_as_user.value or None, of.context.run_as_group.value or None)
    devices.add_requested(nodes, limits, given.config.devices, owner=owner)
    return nodes


def _environment(of: Draft, who: ResolvedUser, limits: oci.Resources, *, systemd: bool) -> dict[str, str]:
    given, runtime = of.given, of.given.runtime
    variables = env.environment(
        defaults=runtime.default_env,
        image=given.image.env,
        requested=given.config.envs,
        hostname=given.sandbox.hostname,
        terminal=given.config.tty,
        warnings=of.notes.warnings,
    )
    if not variables.get("HOME"):
        variables["HOME"] = who.home or "/"
    if systemd:
        variables["container"] = "crio"
    if GOMAXPROCS not in variables:
        threads = gomaxprocs(
            runtime.min_injected_gomaxprocs, given.sandbox.cgroup_parent, of.pod_annotations, limits.cpu
        )
        if threads is not None:
            variables[GOMAXPROCS] = threads
    return variables


def _capabilities(of: Draft) -> oci.Capabilities:
    host, runtime, wanted = of.given.host, of.given.runtime, of.context.capabilities
    # A process has every capability in a user namespace that it enters, whatever it had before.
    available = frozenset(host.known_capabilities) if of.user_namespace else host.capabilities
    resolved = capabilities.resolve(
        wanted.add_capabilities,
        wanted.drop_capabilities,
        defaults=runtime.default_capabilities,
        available=available,
        known=host.known_capabilities,
        privileged=of.privileged,
        inheritable=runtime.add_inheritable_capabilities,
        ambient=wanted.add_ambient_capabilities,
    )
    if resolved.withheld:
        of.notes.warnings.append(
            f"capabilities that the daemon itself lacks are withheld: {', '.join(resolved.withheld)}"
        )
    return resolved.sets


def _seccomp(of: Draft, sets: oci.Capabilities) -> seccomp.Choice:
    given = of.given
    return seccomp.choose(
        of.context,
        profiles=given.seccomp,
        host=given.host,
        capabilities=sets.bounding,
        privileged=of.privileged,
        privileged_profile=given.runtime.privileged_seccomp_profile,
        handler_profile=given.handler.settings.seccomp_profile,
        artifact=given.seccomp_artifact,
        annotations=of.pod_annotations,
        container_id=given.id,
        notifier_directory=given.seccomp_notifier_directory,
        takes_program=given.handler.seccomp_program,
    )


def _masked_paths(of: Draft, *, systemd: bool) -> list[str]:
    masked = hidden_paths.masked_paths(of.context.masked_paths, of.given.host, privileged=of.privileged)
    if systemd and of.given.host.cgroup_version == 1 and not of.privileged:
        masked.append(default_mounts.SYSTEMD_MASKED_V1)
    return masked


def _plan_root(of: Draft, cwd: str) -> None:
    """What every container finds in its root: its working directory, and /etc/mtab for old programs."""
    uid, gid = of.owner
    if posixpath.normpath(cwd) != "/":
        of.notes.effects.append(MakeDirectory(cwd, 0o755, uid, gid))
    of.notes.effects += [MakeDirectory("/etc", 0o755, uid, gid), MakeLink("/etc/mtab", "/proc/mounts")]


def _inject(of: Draft, spec: oci.Spec) -> None:
    """OCI hooks and CDI devices, which edit the finished specification."""
    given = of.given
    if given.hooks is not None:
        given.hooks.inject(
            spec,
            {**given.config.annotations, **given.sandbox_config.annotations},
            has_bind_mounts=bool(given.config.mounts),
        )
    names = [device.name for device in given.config.CDI_devices]
    if given.cdi is not None:
        names = given.cdi.requested(names, given.config.annotations)
        if names:
            given.cdi.inject(spec, names)
    elif names:
        raise InvalidArgument(
            "cannot create container: CDI devices are requested, and CDI is switched off on this node"
        )
