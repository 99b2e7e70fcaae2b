"""Signed, encrypted and artifact images from a real registry, made by real tools, up to the running container."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import trust_bed as bed
from crio.api.runtime.v1 import api_pb2 as pb
from crio.rpc.status import RpcError
from crio.spec import oci_image
from node import Node, running
from registry_server import RunningRegistry, registry
from trust_bed import Gpg

pytestmark = pytest.mark.root

ACCEPT = [{"type": "insecureAcceptAnything"}]


class Bed:
    """A registry, a home for tools and daemon with their registries.d, and a node that asks for signatures."""

    def __init__(self, root: Path, server: RunningRegistry, layout: str) -> None:
        self.root = root
        self.server = server
        self.layout = layout
        self.home = root / "home"
        self.lookaside = root / "lookaside"
        self.keys = root / "keys"
        self.policies = root / "policies"
        for directory in (self.home, self.keys, self.policies):
            directory.mkdir()
        self.registries_d = self.home / ".config/containers/registries.d"
        self.registries_d.mkdir(parents=True)
        self.env = {"HOME": str(self.home)}
        self.places({self.server.host: {"lookaside": f"file://{self.lookaside}"}})
        settings = f'decryption_keys_path = "{self.keys}"\n'
        self.node = Node(root / "node", settings=settings, env=self.env)
        config = self.node.root / "crio.conf"
        config.write_text(
            config.read_text().replace("[crio.stats]", f'signature_policy_dir = "{self.policies}"\n[crio.stats]')
        )
        (self.node.root / "registries.conf").write_text(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')

    def places(self, docker: Mapping[str, Mapping[str, Any]]) -> None:
        """registries.d: JSON is YAML too."""
        (self.registries_d / "test.yaml").write_text(json.dumps({"docker": docker}))

    def policy(self, scopes: Mapping[str, Sequence[Mapping[str, Any]]], namespace: str = "") -> None:
        """The node's policy, or a namespace's: these repositories, all else refused."""
        docker = {f"{self.server.host}/{name}" if name else "": value for name, value in scopes.items()}
        path = self.policies / f"{namespace}.json" if namespace else self.node.root / "policy.json"
        path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": docker}}))

    def push(self, name: str, *options: str, env: Mapping[str, str] | None = None) -> str:
        """Copy the busybox image to the registry with skopeo; its full name."""
        full = f"{self.server.host}/{name}"
        bed.run(
            "skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", *options,
            f"oci:{self.layout}:localhost/busybox:latest", f"docker://{full}", env={**self.env, **(env or {})},
        )  # fmt: skip
        return full

    def digest(self, name: str) -> str:
        raw = bed.run("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}")
        return f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"

    async def pull(self, name: str, namespace: str = "default") -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=name))
        request.sandbox_config.metadata.namespace = namespace
        return (await self.node.call("PullImage", request, pb.PullImageResponse)).image_ref

    async def run(self, image: str, asked: str, namespace: str = "default", *, volume: bool = False) -> None:
        """Run a container of the image, or with it as a volume, the way that a kubelet asks for it."""
        node = self.node
        pod_config = node.host_network(node.pod_config(f"pod-{time.monotonic_ns()}"))
        pod_config.metadata.namespace = namespace
        pod = await node.run_pod(pod_config)
        try:
            config = node.container_config(["sh", "-c", "test -x /bin/busybox && echo it runs"], image=image)
            config.image.user_specified_image = asked
            if volume:
                config.mounts.append(pb.Mount(container_path="/volume", image=pb.ImageSpec(image=image), readonly=True))
                config.mounts[0].image.user_specified_image = asked
                config.image.image, config.image.user_specified_image = "localhost/busybox:latest", ""
            container = await node.create(pod, config, pod_config)
            await node.start_container(container)
            assert (await node.wait_exited(container)).exit_code == 0
            assert node.log_lines(pod_config.metadata.name) == ["stdout F it runs"]
        finally:
            await node.remove_pod(pod)

    @property
    def storage(self) -> str:
        """The node's store, as skopeo names it."""
        return f"[overlay@{self.node.root}/storage+{self.node.root}/run]"

    def podman(self, *argv: str) -> str:
        """podman with the node's store."""
        places = [f"--root={self.node.root}/storage", f"--runroot={self.node.root}/run", "--storage-driver=overlay"]
        return bed.run("podman", *places, *argv, env=self.env)

    def attach(
        self, name: str, tag: str, layers: Sequence[tuple[bytes, Mapping[str, str]]], **fields: Any
    ) -> dict[str, Any]:
        """Put a manifest with cosign signatures into the repository of `name`; its descriptor."""
        repository = name.rpartition(":")[0].partition("/")[2]
        entries = []
        for data, notes in layers:
            entries.append({**self.upload(repository, data, bed.COSIGN_PAYLOAD), "annotations": dict(notes)})
        config = self.upload(repository, b"{}", oci_image.CONFIG)
        value = {"schemaVersion": 2, "mediaType": oci_image.MANIFEST, "config": config, "layers": entries, **fields}
        return self.put_manifest(repository, tag, value)

    def upload(self, repository: str, data: bytes, media_type: str) -> dict[str, Any]:
        """A blob into the registry; its descriptor."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        _, location = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        path = location.partition(self.server.host)[2]
        self._request("PUT", f"{path}&digest={digest}", data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put_manifest(self, repository: str, tag: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest or index into the registry, byte for byte, which no tool does; its descriptor."""
        data = json.dumps(value).encode()
        self._request("PUT", f"/v2/{repository}/manifests/{tag}", data, value["mediaType"])
        return {"mediaType": value["mediaType"], "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
                "size": len(data)}  # fmt: skip

    def _request(self, method: str, path: str, data: bytes, kind: str = "application/octet-stream") -> tuple[int, str]:
        url = f"http://{self.server.host}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request) as response:
            return response.status, response.headers.get("Location", "")


@pytest.fixture
async def trust(scratch: Path, layout: str) -> AsyncIterator[Bed]:
    with registry(str(scratch / "registry")) as server:
        made = Bed(scratch, server, layout)
        async with running(made.node):
            yield made


@pytest.fixture
def gpg(scratch: Path) -> Iterator[Gpg]:
    made = Gpg(scratch / "gpg")
    yield made
    made.close()


def signed_by(gpg: Gpg, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": gpg.public, **more}]


async def test_simple_signing(trust: Bed, gpg: Gpg) -> None:
    """skopeo signs with GnuPG into a lookaside; pull, create and image volume ask for the signature."""
    trust.policy({"signed": signed_by(gpg), "unsigned": signed_by(gpg), "other": signed_by(gpg)})
    env = {"GNUPGHOME": gpg.home}
    signed = trust.push("signed:1", "--sign-by", gpg.fingerprint, env=env)
    unsigned = trust.push("unsigned:1", "--dest-compress-format", "zstd", "--dest-compress")
    other = trust.push(
        "other:1", "--sign-by", gpg.fingerprint, "--sign-identity", f"{trust.server.host}/signed:1", env=env
    )

    image = await trust.pull(signed)
    await trust.run(image, signed)
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*there is none"):
        await trust.pull(unsigned)
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*it is for the name"):
        await trust.pull(other)
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*policy rejects it"):
        await trust.pull(f"{trust.server.host}/elsewhere:1")

    # The store keeps the signature as podman does: skopeo finds it there, and will not copy what would make it void.
    source = f"containers-storage:{trust.storage}{signed}"
    command = ["skopeo", "--insecure-policy", "copy", "-q", source, f"dir:{trust.root}/copied"]
    assert "Would invalidate signatures" in subprocess.run(command, capture_output=True, text=True, check=False).stderr

    # A namespace with another key, at create and as a volume; by the kept signature, the registry's are gone.
    await trust.node.load(trust.layout)
    shutil.rmtree(trust.lookaside)
    trust.policy({"signed": signed_by(gpg)}, "strict")
    await trust.run(image, signed, "strict")
    stranger = Gpg(trust.root / "stranger")
    stranger.close()
    trust.policy({"": ACCEPT, "signed": signed_by(stranger)}, "strict")
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*no accepted OpenPGP key"):
        await trust.run(image, signed, "strict")
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*no accepted OpenPGP key"):
        await trust.run(image, signed, "strict", volume=True)
    # A key that is exchanged in its file counts at once.
    shutil.copy(gpg.public, stranger.public)
    await trust.run(image, signed, "strict", volume=True)


async def test_an_image_that_podman_pulled(trust: Bed, gpg: Gpg) -> None:
    trust.policy({"": ACCEPT})
    signed = trust.push("signed:1", "--sign-by", gpg.fingerprint, env={"GNUPGHOME": gpg.home})
    policy = trust.root / "podman.json"
    policy.write_text(json.dumps({"default": signed_by(gpg)}))
    trust.podman("pull", "-q", "--tls-verify=false", f"--signature-policy={policy}", signed)
    trust.policy({"signed": signed_by(gpg)})
    image = trust.podman("image", "inspect", "--format", "{{.Id}}", signed).strip()
    await trust.run(image, signed)
    other = Gpg(trust.root / "stranger")
    other.close()
    trust.policy({"signed": signed_by(other)})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed"):
        await trust.run(image, signed)


def sigstore(key: bed.PrivateKey, **more: Any) -> list[dict[str, Any]]:
    data = base64.b64encode(bed.public_pem(key)).decode()
    return [{"type": "sigstoreSigned", "keyData": data, **more}]


async def test_sigstore_by_a_key(trust: Bed) -> None:
    """A signature that openssl makes, under the tag where cosign puts it."""
    key = bed.ec_key()
    private, document = trust.root / "cosign.pem", trust.root / "payload.json"
    private.write_bytes(bed.private_pem(key))
    trust.places({trust.server.host: {"use-sigstore-attachments": True}})
    trust.policy({"signed": sigstore(key), "unsigned": sigstore(key)})
    name = trust.push("signed:1")
    digest = trust.digest(name)
    document.write_bytes(bed.cosign_payload(digest, name))
    bed.run("openssl", "dgst", "-sha256", "-sign", str(private), "-out", f"{document}.sig", str(document))
    signature = base64.b64encode(Path(f"{document}.sig").read_bytes()).decode()
    notes = {"dev.cosignproject.cosign/signature": signature}
    trust.attach(name, f"{digest.replace(':', '-')}.sig", [(document.read_bytes(), notes)])
    image = await trust.pull(name)
    await trust.run(image, name)
    trust.policy({"signed": sigstore(bed.ec_key())})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*no accepted sigstore key"):
        await trust.run(image, name)
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*policy rejects it"):
        await trust.pull(trust.push("unsigned:1"))
    trust.policy({"signed": sigstore(key), "unsigned": sigstore(key)})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*there is none"):
        await trust.pull(f"{trust.server.host}/unsigned:1")


async def test_certificates_and_logs(trust: Bed) -> None:
    """Fulcio with Rekor by a tag, a company's authority by referrers; both for one image."""
    trust.places({trust.server.host: {"use-sigstore-attachments": True}})
    name = trust.push("signed:1")
    digest = trust.digest(name)
    payload = bed.cosign_payload(digest, f"{trust.server.host}/signed")
    log, leaf, staff = bed.ec_key(), bed.ec_key(), bed.ec_key()
    fulcio, company = bed.authority("fulcio"), bed.authority("company")
    below = bed.authority("fulcio below", fulcio, path_length=0)
    an_hour = datetime.timedelta(hours=1)
    certificate = bed.code_signing(below, leaf, oidc_issuer=bed.ISSUER, age=an_hour)
    raw = bed.raw_signature(leaf, payload)
    bundle = bed.rekor_bundle(log, certificate, raw, payload, time.time() - 3590)
    notes = {
        **bed.cosign_annotations(leaf, payload, bundle=bundle, certificate=certificate.decode(),
                          chain=(below.pem + fulcio.pem).decode()),
        "dev.cosignproject.cosign/signature": base64.b64encode(raw).decode(),
    }  # fmt: skip
    trust.attach(name, f"{digest.replace(':', '-')}.sig", [(payload, notes)])
    requirement: dict[str, Any] = {
        "type": "sigstoreSigned",
        "fulcio": {
            "caData": base64.b64encode(fulcio.pem).decode(),
            "oidcIssuer": bed.ISSUER,
            "subjectEmail": bed.EMAIL,
        },
        "rekorPublicKeyData": base64.b64encode(bed.public_pem(log)).decode(),
        "signedIdentity": {"type": "matchRepository"},
    }
    trust.policy({"signed": [requirement]})
    image = await trust.pull(name)
    await trust.run(image, name)
    requirement["fulcio"]["subjectEmail"] = "other@example.com"
    trust.policy({"signed": [requirement]})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*is for signer@example.com"):
        await trust.run(image, name)

    certificate = bed.code_signing(company, staff, host="build.example.com", email="")
    subject = {"mediaType": oci_image.MANIFEST, "digest": digest, "size": 1}
    kind = "application/vnd.dev.cosign.artifact.sig.v1+json"
    notes = bed.cosign_annotations(staff, payload, certificate=certificate.decode())
    referrer = trust.attach(name, "referrer", [(payload, notes)], subject=subject, artifactType=kind)
    # The registry does not know referrers: their list has a tag.
    entries = [{**referrer, "artifactType": kind}]
    index = {"schemaVersion": 2, "mediaType": oci_image.INDEX, "manifests": entries}
    trust.put_manifest("signed", digest.replace(":", "-"), index)
    pki = {"caRootsData": base64.b64encode(company.pem).decode(), "subjectHostname": "build.example.com"}
    both = {"type": "sigstoreSigned", "pki": pki, "signedIdentity": {"type": "matchRepository"}}
    requirement["fulcio"]["subjectEmail"] = bed.EMAIL
    trust.policy({"signed": [requirement, both]})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed"):
        await trust.run(image, name)
    assert await trust.pull(name) == image
    await trust.run(image, name)


async def test_encrypted_images(trust: Bed) -> None:
    """skopeo encrypts for a node; its key is asked for at each use, and what it opens is in the store as any image."""
    trust.policy({"": ACCEPT})
    (trust.keys / "other.pem").write_bytes(bed.private_pem(bed.ec_key()))
    node_key = trust.keys / "node.pem"
    names = {}
    for scheme, key in (("jwe", bed.ec_key()), ("pkcs7", rsa.generate_private_key(65537, 2048))):
        private, public = trust.root / f"{scheme}.pem", trust.root / f"{scheme}.pub"
        private.write_bytes(bed.private_pem(key))
        public.write_bytes(bed.public_pem(key))
        if scheme == "pkcs7":
            bed.run("openssl", "req", "-new", "-x509", "-key", str(private), "-subj", "/CN=node", "-out", str(public))
        names[scheme] = trust.push(f"{scheme}:1", "--encryption-key", f"{scheme}:{public}")
    for scheme, name in names.items():
        with pytest.raises(RpcError, match=r"encrypted layer .*none of the 1 private keys"):
            await trust.pull(name)
        shutil.copy(trust.root / f"{scheme}.pem", node_key)
        image = await trust.pull(name)
        await trust.run(image, name)
        # Other tools find in the store what was decrypted.
        mounted = Path(trust.podman("image", "mount", name).strip())
        assert (mounted / "bin/busybox").read_bytes() == Path("/bin/busybox").read_bytes()
        trust.podman("image", "unmount", name)
        node_key.unlink()
        with pytest.raises(RpcError, match=r"none of the 1 private keys"):
            await trust.run(image, name)


def artifact(trust: Bed, tag: str, files: Mapping[str, bytes], **fields: Any) -> str:
    """An OCI artifact in the registry, as oras pushes it; its full name."""
    layers = []
    for title, data in files.items():
        blob = trust.upload("artifact", data, "text/plain")
        layers.append({**blob, "annotations": {"org.opencontainers.image.title": title}})
    config = {**trust.upload("artifact", b"{}", oci_image.EMPTY), "data": "e30="}
    value = {"schemaVersion": 2, "mediaType": oci_image.MANIFEST, "artifactType": "application/x.test.v1",
             "config": config, "layers": layers, **fields}  # fmt: skip
    trust.put_manifest("artifact", tag, value)
    return f"{trust.server.host}/artifact:{tag}"


async def images(trust: Bed, name: str = "") -> list[pb.Image]:
    request = pb.ListImagesRequest()
    request.filter.image.image = name
    return list((await trust.node.call("ListImages", request, pb.ListImagesResponse)).images)


async def test_artifacts(trust: Bed) -> None:
    """Pull, list, status, mount, protection, removal; the store is what CRI-O and podman know."""
    trust.policy({"": ACCEPT})
    await trust.node.load(trust.layout)
    name = artifact(trust, "files", {"a.txt": b"hello artifact\n", "sub/2": b"2", "sub/3": b"3"})
    image = await trust.pull(name)
    digest = trust.digest(name)
    assert image == digest.partition(":")[2]
    (listed,) = await images(trust, name)
    assert (listed.id, list(listed.repo_tags), list(listed.repo_digests), listed.size, listed.pinned) == (
        image, [name], [f"{trust.server.host}/artifact@{digest}"], 17, False
    )  # fmt: skip
    assert {item.id for item in await images(trust)} > {image}
    verbose = pb.ImageStatusRequest(image=pb.ImageSpec(image=name), verbose=True)
    status = await trust.node.call("ImageStatus", verbose, pb.ImageStatusResponse)
    assert (status.image.id, json.loads(status.info["info"])) == (image, {"labels": {}, "imageSpec": {}})
    for asked in (image, image[:12], f"{trust.server.host}/artifact@{digest}"):
        (found,) = await images(trust, asked)
        assert found.id == image
    layout = trust.node.root / "storage/artifacts"
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["annotations"] == {oci_image.REF_NAME: name}
    bed.run("skopeo", "--insecure-policy", "inspect", "--raw", f"oci:{layout}:{name}")

    node = trust.node
    pod_config = node.host_network(node.pod_config())
    pod = await node.run_pod(pod_config)
    config = node.container_config(["sleep", "1000"])
    for path, sub_path in (("/all", ""), ("/sub", "sub")):
        mount = pb.Mount(container_path=path, image=pb.ImageSpec(image=name), readonly=True, image_sub_path=sub_path)
        config.mounts.append(mount)
    container = await node.create(pod, config, pod_config)
    await node.start_container(container)
    assert (await node.exec(container, "cat", "/all/a.txt", "/all/sub/2", "/sub/3")).stdout == b"hello artifact\n23"
    assert b"Read-only" in (await node.exec(container, "sh", "-c", "echo x > /all/a.txt")).stderr
    remove = pb.RemoveImageRequest(image=pb.ImageSpec(image=name))
    with pytest.raises(RpcError, match=r"uses it"):
        await node.call("RemoveImage", remove, pb.RemoveImageResponse)
    bad = node.container_config(["true"], name="bad")
    bad.mounts.append(pb.Mount(container_path="/x", image=pb.ImageSpec(image=name), readonly=True, image_sub_path="no"))
    with pytest.raises(RpcError, match=r"ImageVolumeMountFailed: .*does not exist in it"):
        await node.create(pod, bad, pod_config)
    with pytest.raises(RpcError, match=r"it is an OCI artifact"):
        await node.create(pod, node.container_config(["true"], name="run", image=name), pod_config)

    # The tag moves: the former artifact stays by its id while it is used, and goes afterwards.
    second = await trust.pull(artifact(trust, "files", {"a.txt": b"second\n"}))
    assert [item.repo_tags for item in await images(trust, image)] == [[]]
    await node.remove_container(container)
    for asked in (image, second):
        remove.image.image = asked
        await node.call("RemoveImage", remove, pb.RemoveImageResponse)
    assert await images(trust, name) == []
    assert list((layout / "blobs/sha256").iterdir()) == []


async def test_artifacts_and_trust(trust: Bed, gpg: Gpg) -> None:
    trust.policy({"": ACCEPT, "artifact": signed_by(gpg)})
    await trust.node.load(trust.layout)
    name = artifact(trust, "one", {"bin/busybox": b"signed\n"})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*there is none"):
        await trust.pull(name)
    digest = trust.digest(name)
    place = trust.lookaside / f"artifact@{digest.replace(':', '=')}"
    place.mkdir(parents=True)
    (place / "signature-1").write_bytes(gpg.sign(bed.simple_payload(digest, name)))
    image = await trust.pull(name)
    await trust.run(image, name, volume=True)
    stranger = Gpg(trust.root / "stranger")
    stranger.close()
    trust.policy({"": ACCEPT, "artifact": signed_by(stranger)})
    with pytest.raises(RpcError, match=r"SignatureValidationFailed: .*no accepted OpenPGP key"):
        await trust.run(image, name, volume=True)


async def test_additional_artifact_stores(trust: Bed) -> None:
    trust.policy({"": ACCEPT})
    await trust.node.load(trust.layout)
    name = artifact(trust, "one", {"a.txt": b"from afar\n"})
    image = await trust.pull(name)
    shutil.copytree(trust.node.root / "storage/artifacts", trust.root / "shared/artifacts")
    request = pb.RemoveImageRequest(image=pb.ImageSpec(image=name))
    await trust.node.call("RemoveImage", request, pb.RemoveImageResponse)
    assert await images(trust, name) == []
    await trust.node.stop()
    config = trust.node.root / "crio.conf"
    stores = f'additional_artifact_stores = ["{trust.root}/shared", "{trust.root}/absent"]'
    config.write_text(config.read_text().replace("[crio.runtime]", f"[crio.runtime]\n{stores}"))
    await trust.node.start()
    (found,) = await images(trust, name)
    assert (found.id, found.pinned) == (image, True)
    # It need not be pulled: the registry has another one by now.
    artifact(trust, "one", {"a.txt": b"newer\n"})
    assert await trust.pull(name) == image
    node = trust.node
    pod_config = node.host_network(node.pod_config())
    config_with_volume = node.container_config(["cat", "/data/a.txt"])
    config_with_volume.mounts.append(pb.Mount(container_path="/data", image=pb.ImageSpec(image=name), readonly=True))
    container = await node.create(await node.run_pod(pod_config), config_with_volume, pod_config)
    await node.start_container(container)
    assert (await node.wait_exited(container)).exit_code == 0
    assert node.log_lines("pod") == ["stdout F from afar"]
    with pytest.raises(RpcError, match=r"read-only store"):
        await node.call("RemoveImage", request, pb.RemoveImageResponse)


async def test_a_killed_pull_of_an_artifact_leaves_nothing(trust: Bed) -> None:
    trust.policy({"": ACCEPT})
    await trust.node.stop()
    await trust.node.start(failpoints="image.artifact.received=kill")
    name = artifact(trust, "one", {"a.txt": b"content\n"})
    with pytest.raises(RpcError, match=r"the image worker ended by signal SIGKILL"):
        await trust.pull(name)
    assert list((trust.node.root / "storage/artifacts/blobs/sha256").iterdir()) == []
    assert await images(trust) == []
