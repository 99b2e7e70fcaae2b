"""What a pod's manifest may ask for: security, volumes, namespaces, hooks, runtime classes, jobs."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kubernetes_bed import Cluster, Kubelet, container, eventually, has_ended, is_ready, pod
from node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]


def shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A container that prints something and stays."""
    return container(name, ["sh", "-c", f"exec 2>&1; {script}; echo the end; {ENDLESS[2]}"], **more)


def printed(cluster: Cluster, name: str, of: str = "main") -> str:
    """What a container of `shell` says."""

    def look() -> str:
        text = cluster.kubectl("logs", name, "-c", of)
        assert text.endswith("the end\n"), text
        return text

    return str(eventually(f"container {of} of {name} has spoken", look)).removesuffix("the end\n")


def volume_mount(name: str, path: str, **more: str) -> dict[str, str]:
    return {"name": name, "mountPath": path, **more}


async def test_security_contexts(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    profiles = kubelet.root / "seccomp"
    profiles.mkdir(exist_ok=True)
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    (profiles / "nomkdir.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    facts = "grep -e CapPrm -e CapBnd -e NoNewPrivs -e Seccomp: /proc/self/status"
    cluster.apply(
        pod(
            "secure",
            shell(
                "user",
                f"id; touch /x; touch /share/y; stat -c '%u %g' /share/y; {facts}",
                securityContext={
                    "readOnlyRootFilesystem": True,
                    "runAsUser": 1001,
                    "runAsGroup": 1002,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                volumeMounts=[volume_mount("share", "/share")],
            ),
            shell(
                "privileged", f"mount -t tmpfs none /tmp && echo mounted; {facts}", securityContext={"privileged": True}
            ),
            shell(
                "local",
                f"mkdir /denied || echo denied; {facts}",
                securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "nomkdir.json"}},
            ),
            securityContext={"fsGroup": 2000, "supplementalGroups": [3000]},
            volumes=[{"name": "share", "emptyDir": {}}],
        ),
        pod("root", container("main", ["true"], securityContext={"runAsNonRoot": True})),
    )
    user = printed(cluster, "secure", "user")
    assert "uid=1001(1001) gid=1002(1002) groups=1002(1002),2000,3000" in user
    assert "touch: /x: Read-only file system" in user
    assert "\n1001 2000\n" in user
    assert user.split("CapPrm:\t")[1].split() == [
        "0" * 16,
        "CapBnd:",
        "0000000000000400",
        "NoNewPrivs:",
        "1",
        "Seccomp:",
        "2",
    ]
    privileged = printed(cluster, "secure", "privileged")
    assert "mounted\n" in privileged
    assert privileged.endswith("Seccomp:\t0\n")
    local = printed(cluster, "secure", "local")
    assert "denied\n" in local
    assert local.endswith("Seccomp:\t2\n")
    eventually(
        "the refusal is told",
        lambda: told(cluster, "root", "Failed", "runAsNonRoot and image will run as root"),
    )
    cluster.kubectl("delete", "pod", "secure", "root", "--wait=false")


async def test_volumes(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    shown = node.root / "shown"
    mount, make = volume_mount, {"type": "DirectoryOrCreate", "path": str(shown)}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "words", "namespace": "default"},
            "data": {"one": "first\n"},
        },
        pod(
            "volumes",
            shell(
                "main",
                "ls /projected; wc -c < /projected/token; cat /downward/labels /one; echo; "
                "ls /image/bin/busybox /bins/sh; touch /image/x; ls -d /expanded; "
                "grep -c ' /memory tmpfs ' /proc/mounts",
                env=[{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                volumeMounts=[
                    mount("image", "/image"),
                    mount("image", "/bins", subPath="bin"),
                    mount("projected", "/projected"),
                    mount("downward", "/downward"),
                    mount("words", "/one", subPath="one"),
                    mount("empty", "/expanded", subPathExpr="$(ME)"),
                    mount("memory", "/memory"),
                ],
            ),
            volumes=[
                {"name": "image", "image": {"reference": "localhost/busybox:latest", "pullPolicy": "Never"}},
                {
                    "name": "projected",
                    "projected": {
                        "sources": [
                            {"serviceAccountToken": {"path": "token", "audience": "x", "expirationSeconds": 600}},
                            {"configMap": {"name": "words"}},
                        ]
                    },
                },
                {
                    "name": "downward",
                    "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
                },
                {"name": "words", "configMap": {"name": "words"}},
                {"name": "empty", "emptyDir": {}},
                {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            ],
        ),
        pod(
            "propagation",
            shell(
                "giver",
                "mkdir /shown/sub && mount -t tmpfs none /shown/sub && touch /shown/sub/there",
                securityContext={"privileged": True},
                volumeMounts=[mount("shown", "/shown", mountPropagation="Bidirectional")],
            ),
            shell(
                "taker",
                "until ls /shown/sub/there; do sleep 0.1; done",
                volumeMounts=[mount("shown", "/shown", mountPropagation="HostToContainer")],
            ),
            shell("apart", "umount /shown/sub; true", volumeMounts=[mount("shown", "/shown")]),
            volumes=[{"name": "shown", "hostPath": make}],
        ),
    )
    lines = printed(cluster, "volumes").splitlines()
    assert lines[:2] == ["one", "token"]
    assert int(lines[2]) > 100
    assert lines[3:] == [
        'app="volumes"first',
        "",
        "/bins/sh",
        "/image/bin/busybox",
        "touch: /image/x: Read-only file system",
        "/expanded",
        "1",
    ]
    assert "/shown/sub/there\n" in printed(cluster, "propagation", "taker")
    cluster.kubectl("exec", "propagation", "-c", "giver", "--", "umount", "/shown/sub")
    assert cluster.kubectl("exec", "propagation", "-c", "taker", "--", "ls", "/shown/sub") == ""
    cluster.kubectl("delete", "pod", "volumes", "propagation", "--wait=false")


@pytest.mark.parametrize("handler", ["crun", "runc"])
async def test_user_namespaces(node: Node, cluster: Cluster, kubelet: Kubelet, handler: str) -> None:
    """Root inside is nobody's user outside, and volumes belong to it."""
    name = f"mapped-{handler}"
    mount = volume_mount
    cluster.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": handler},
            "handler": handler,
        },
        pod(
            name,
            shell(
                "main",
                "cat /proc/self/uid_map; touch /empty/x; stat -c '%u %g %n' / /empty/x /token/token",
                volumeMounts=[mount("empty", "/empty"), mount("token", "/token")],
            ),
            hostUsers=False,
            runtimeClassName=handler,
            volumes=[
                {"name": "empty", "emptyDir": {}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        ),
    )
    first, *rest = printed(cluster, name).splitlines()
    inside, outside, count = map(int, first.split())
    assert (inside, count) == (0, 65536)
    assert outside >= 65536
    assert rest[:3] == ["0 0 /", "0 0 /empty/x", "0 0 /token/token"]
    uid = cluster.get("pod", name)["metadata"]["uid"]
    written = node.root / f"kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/empty/x"
    assert written.stat().st_uid == 0
    cluster.kubectl("delete", "pod", name, "--wait=false")


async def test_names_and_namespaces(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply(
        pod(
            "named",
            shell("main", "cat /etc/hosts /etc/resolv.conf; hostname -f; sysctl -n net.ipv4.ip_local_port_range"),
            hostname="host",
            subdomain="sub",
            hostAliases=[{"ip": "192.0.2.77", "hostnames": ["alias"]}],
            dnsPolicy="None",
            dnsConfig={"nameservers": ["192.0.2.9"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "3"}]},
            securityContext={"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "2000 3000"}]},
        ),
        pod(
            "hosts",
            shell("main", "for kind in net pid ipc; do readlink /proc/self/ns/$kind; done"),
            hostNetwork=True,
            hostPID=True,
            hostIPC=True,
        ),
    )
    text = printed(cluster, "named")
    for line in (
        "192.0.2.77\talias",
        "nameserver 192.0.2.9",
        "search a.b",
        "options ndots:3",
        "host.sub.default.svc.cluster.local",
        "2000\t3000",
    ):
        assert f"{line}\n" in text
    own = [str(Path(f"/proc/thread-self/ns/{kind}").readlink()) for kind in ("net", "pid", "ipc")]
    assert printed(cluster, "hosts").split() == own
    cluster.kubectl("delete", "pod", "named", "hosts", "--wait=false")


async def test_how_containers_end(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply(
        pod(
            "ends",
            container("file", ["sh", "-c", "echo -n why > /tmp/why; exit 4"], terminationMessagePath="/tmp/why"),
            container("log", ["sh", "-c", "echo last words; exit 5"], terminationMessagePolicy="FallbackToLogsOnError"),
            container("default", ["sh", "-c", "echo -n fine > /dev/termination-log"]),
            container(
                "memory",
                ["sh", "-c", "x=a; while :; do x=$x$x; done"],
                resources={"limits": {"memory": "20Mi"}},
            ),
            restartPolicy="Never",
        ),
        pod("nothing", container("main", ["/no/such"])),
    )
    found = cluster.wait_pod("ends", has_ended)
    ends = {each["name"]: each["state"]["terminated"] for each in found["status"]["containerStatuses"]}
    assert {name: (end["exitCode"], end["reason"], end.get("message")) for name, end in ends.items()} == {
        "file": (4, "Error", "why"),
        "log": (5, "Error", "last words\n"),
        "default": (0, "Completed", "fine"),
        "memory": (137, "OOMKilled", None),
    }

    def refused_again() -> Any:
        told = [each for each in cluster.events("nothing") if each["reason"] == "Failed"]
        return told if sum(each.get("count", 1) for each in told) > 1 else None

    (only,) = eventually("a create fails twice", refused_again)
    assert "executable file `/no/such` not found" in only["message"]
    cluster.kubectl("delete", "pod", "ends", "nothing", "--wait=false")


def told(cluster: Cluster, name: str, reason: str, message: str) -> bool:
    """Whether an event of the pod says so."""
    return any(each["reason"] == reason and message in each["message"] for each in cluster.events(name))


async def test_hooks_probes_and_init_containers_that_fail(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    share = {"volumeMounts": [volume_mount("share", "/share")]}
    empty = [{"name": "share", "emptyDir": {}}]
    cluster.apply(
        pod(
            "hooked",
            shell(
                "main",
                "until test -e /tmp/started; do sleep 0.1; done",
                lifecycle={
                    "postStart": {"exec": {"command": ["touch", "/tmp/started"]}},
                    "preStop": {"sleep": {"seconds": 1}},
                },
            ),
        ),
        pod("unhooked", container("main", ENDLESS, lifecycle={"postStart": {"exec": {"command": ["false"]}}})),
        pod(
            "slow",
            container(
                "main",
                ENDLESS,
                livenessProbe={
                    "exec": {"command": ["sleep", "30"]},
                    "timeoutSeconds": 1,
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            ),
        ),
        pod(
            "second-try",
            container("main", ENDLESS),
            initContainers=[
                container("flaky", ["sh", "-c", "test -e /share/tried && exit; touch /share/tried; exit 1"], **share)
            ],
            volumes=empty,
        ),
    )
    assert printed(cluster, "hooked") == ""
    begin = time.monotonic()
    cluster.kubectl("delete", "pod", "hooked")
    assert time.monotonic() - begin >= 1
    for name, reason, message in (
        ("unhooked", "FailedPostStartHook", "PostStartHook failed"),
        ("slow", "Unhealthy", "Liveness probe failed: command timed out"),
    ):
        cluster.wait_pod(name, lambda found: found["status"]["containerStatuses"][0]["restartCount"] >= 1)
        eventually(f"{reason} of {name} is told", partial(told, cluster, name, reason, message))
    found = cluster.wait_pod("second-try", is_ready)
    assert found["status"]["initContainerStatuses"][0]["restartCount"] == 1
    cluster.kubectl("delete", "pod", "unhooked", "slow", "second-try", "--wait=false")


@pytest.mark.parametrize("shared", [False, True])
async def test_debug_containers(node: Node, cluster: Cluster, kubelet: Kubelet, shared: bool) -> None:
    """An ephemeral container sees its target's processes, also where the pod shares one PID namespace."""
    name = f"debugged-{shared}".lower()
    cluster.apply(
        pod(name, container("main", ["sh", "-c", f"touch /mark; {ENDLESS[2]}"]), shareProcessNamespace=shared)
    )
    cluster.wait_pod(name, is_ready)
    cluster.kubectl(
        "debug",
        name,
        "--image=localhost/busybox:latest",
        "--image-pull-policy=Never",
        "--target=main",
        "--container=debugger",
        "--profile=general",
        "--",
        "sh",
        "-c",
        "ls /proc/[0-9]*/root/mark 2>/dev/null; echo the end; exec sleep 1000",
    )
    assert "/root/mark\n" in printed(cluster, name, "debugger")
    assert is_ready(cluster.get("pod", name))
    cluster.kubectl("delete", "pod", name, "--wait=false")


async def test_runtime_classes(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    limits = {"cpu": "100m", "memory": "30Mi"}
    cluster.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "heavy"},
            "handler": "runc",
            "overhead": {"podFixed": {"cpu": "50m", "memory": "20Mi"}},
        },
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "lost"}, "handler": "lost"},
        pod(
            "other",
            container("main", ENDLESS, resources={"requests": limits, "limits": limits}),
            runtimeClassName="heavy",
        ),
        pod("lost", container("main", ENDLESS), runtimeClassName="lost"),
    )
    found = cluster.wait_pod("other", is_ready)
    container_id = found["status"]["containerStatuses"][0]["containerID"].removeprefix("cri-o://")
    assert (node.root / "run-runc" / container_id).is_dir()
    (group,) = Path("/sys/fs/cgroup/memory").glob(f"kube-{node.tag}/kubepods/pod{found['metadata']['uid']}")
    assert int((group / "memory.limit_in_bytes").read_text()) == 50 << 20
    eventually(
        "the unknown handler is told",
        lambda: any("runtime handler 'lost' is not configured" in each["message"] for each in cluster.events("lost")),
    )
    cluster.kubectl("delete", "pod", "other", "lost", "--wait=false")


async def test_a_job(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    template = {
        "restartPolicy": "Never",
        "containers": [container("main", ["sh", "-c", "echo $JOB_COMPLETION_INDEX"])],
    }
    cluster.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "job", "namespace": "default"},
            "spec": {"completions": 4, "parallelism": 2, "completionMode": "Indexed", "template": {"spec": template}},
        }
    )
    cluster.kubectl("wait", "--for=condition=Complete", "job/job", "--timeout=150s")
    assert sorted(cluster.kubectl("logs", "-l", "job-name=job", "--prefix=false").split()) == ["0", "1", "2", "3"]
    cluster.kubectl("delete", "job", "job", "--cascade=foreground")
    assert not cluster.kubectl("get", "pods", "-l", "job-name=job", "-o", "name").strip()


async def test_a_static_pod_and_its_mirror(node: Node, cluster: Cluster, kubelet: Kubelet) -> None:
    manifest = kubelet.manifests / "static.json"
    manifest.write_text(json.dumps(pod("static", shell("main", "echo here"))))
    cluster.wait_pod("static-localhost", is_ready)
    assert printed(cluster, "static-localhost") == "here\n"
    manifest.unlink()
    eventually(
        "the mirror is gone",
        lambda: not cluster.kubectl("get", "pod", "static-localhost", "--ignore-not-found").strip(),
    )
