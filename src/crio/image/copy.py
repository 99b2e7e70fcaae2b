"""From a source into the store: one image, every byte verified, its missing layers in parallel.

Layers are fetched and unpacked beside the store (no lock is held), and put into it in order, base first, as soon as
those below are there. What was put in stays if the pull fails later: the next attempt finds it. The image's own record
comes last, so a half-pulled image is never seen.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from crio.base.errors import Cancelled, DataLoss, NotFound
from crio.base.failpoints import failpoint
from crio.base.ids import Digest, parse_digest
from crio.image import schema1
from crio.image.artifacts.layout import DIRECTORY, ArtifactLayout
from crio.image.artifacts.receive import is_artifact, receive
from crio.image.cancellation import Cancellation
from crio.image.documents import Served, digest_of, parse_config, parse_document, verify
from crio.image.errors import BadImage
from crio.image.platforms import HostPlatform, choose
from crio.image.progress import LayerState, Progress, Stage
from crio.image.source.base import ImageSource
from crio.image.source.encrypted import unlocked
from crio.image.staging import PARALLEL, StagedLayer, Stager
from crio.image.trust import signatures as trust
from crio.image.trust.signatures import Signature
from crio.spec.docker_image import Schema1Manifest
from crio.spec.oci_image import Descriptor, ImageConfig, Index, Manifest
from crio.storage.layers import LayerGone
from crio.storage.records import is_time, layer_id
from crio.storage.store import Store

if TYPE_CHECKING:
    from crio.image.trust.admission import Admission

log = logging.getLogger(__name__)

_MAX_NESTING = 4


class _Resolved(msgspec.Struct):
    """The way from the image's name to its manifest."""

    manifest: Manifest | Schema1Manifest
    raw: bytes
    digest: Digest
    lists: list[tuple[Digest, bytes]] = msgspec.field(default_factory=list)

    @property
    def signed(self) -> bytes:
        """What signatures of the manifest are made over."""
        return schema1.payload(self.raw) if isinstance(self.manifest, Schema1Manifest) else self.raw


class Copied(msgspec.Struct, frozen=True):
    image_id: str
    """Of an artifact: its manifest's digest in hex."""
    digest: Digest
    """Of what the name stands for: the index if there is one, else the manifest."""


class Copier:
    """Copies images into one store. Thread-safe: pulls that need the same layer at the same time fetch it once."""

    def __init__(self, store: Store, host: HostPlatform) -> None:
        self.store = store
        self._host = host
        self._stager = Stager(store)
        self._artifacts = ArtifactLayout(os.path.join(store.options.graphroot, DIRECTORY))

    def copy(
        self,
        source: ImageSource,
        names: Sequence[str],
        wanted: Digest | None,
        scope: Cancellation,
        progress: Progress,
        what: str,
        admission: Admission | None = None,
        keys_directory: str = "",
    ) -> Copied:
        """Put the image into the store under `names`. `wanted` is the digest that it must have, if one was asked for.

        `admission` decides whether it may come in, before anything but its manifest is read; `keys_directory` has the
        private keys for encrypted layers. Raises NotFound, BadImage, BadContent, RegistryUnavailable,
        CredentialsRefused, SignatureValidationFailed, PermissionDenied, Cancelled, and what the store raises. Then
        nothing of it is visible but layers that are whole.
        """
        resolved = self._resolve(source, wanted, what)
        scope.check()
        signatures = admission.admit(resolved.signed, resolved.digest) if admission is not None else []
        manifest = resolved.manifest
        if isinstance(manifest, Manifest):
            if is_artifact(manifest):
                digest = receive(
                    self._artifacts, source, manifest, resolved.raw, names, signatures, scope, progress, what
                )
                return Copied(digest.partition(":")[2], digest)
            source = unlocked(source, manifest.layers, keys_directory, what)
        try:
            return self._copy_image(source, resolved, names, signatures, scope, progress, what)
        except LayerGone as error:
            log.info("layers of %s have gone while it was copied, and are fetched: %s", what, error.message)
        return self._copy_image(source, resolved, names, signatures, scope, progress, what)

    def _copy_image(
        self,
        source: ImageSource,
        resolved: _Resolved,
        names: Sequence[str],
        signatures: Sequence[Signature],
        scope: Cancellation,
        progress: Progress,
        what: str,
    ) -> Copied:
        """The missing layers, and then the record.

        Raises LayerGone if another tool removes at this moment the image whose layers this one shares.
        """
        if isinstance(resolved.manifest, Schema1Manifest):
            config_data, top = self._copy_schema1(source, resolved.manifest, scope, progress, what)
        else:
            config_data, top = self._copy_schema2(source, resolved.manifest, scope, progress, what)
        progress.enter(Stage.COMMIT)
        failpoint("image.copy.before_record")
        config = _parse_config(config_data, what)
        image_id = digest_of(config_data).partition(":")[2]
        digest = resolved.lists[0][0] if resolved.lists else resolved.digest
        metadata, former = self._former_signatures(image_id, resolved.digest)
        signatures = trust.joined(signatures, former)
        self.store.put_image(
            image_id,
            layer=top,
            names=names,
            digest=digest,
            created=config.created or "",
            metadata=trust.metadata(signatures, resolved.digest, metadata),
            big_data=_big_data(digest_of(config_data), config_data, resolved, signatures),
        )
        return Copied(image_id, digest)

    def _former_signatures(self, image_id: str, digest: Digest) -> tuple[str, Sequence[Signature]]:
        """The metadata of the image that is there already, and the signatures that it has for this manifest."""
        try:
            record = self.store.image(image_id)
        except NotFound:
            return "", ()
        try:
            kept = trust.stored(record.metadata, record.big_data_names, partial(self.store.image_big_data, record.id))
        except (DataLoss, NotFound):
            return "", ()
        return record.metadata, kept.get(digest, ())

    # Documents

    def _resolve(self, source: ImageSource, wanted: Digest | None, what: str) -> _Resolved:
        lists: list[tuple[Digest, bytes]] = []
        digest = wanted
        for _ in range(_MAX_NESTING):
            served = source.manifest(digest)
            document = parse_document(served.data, served.media_type, what)
            found = _digest_of_document(served, document)
            if digest is not None and found != digest:
                verify(served.data, digest, f"manifest of {what}")
                found = digest
            if not isinstance(document, Index):
                return _Resolved(document, served.data, found, lists)
            lists.append((found, served.data))
            entry = choose(document.manifests, self._host)
            if entry is None:
                raise NotFound(f"cannot pull {what}: it has no image for {self._host}{_platforms(document)}")
            digest = parse_digest(entry.digest)
        raise BadImage(f"cannot pull {what}: its indexes are nested more than {_MAX_NESTING} deep")

    def _copy_schema2(
        self, source: ImageSource, manifest: Manifest, scope: Cancellation, progress: Progress, what: str
    ) -> tuple[bytes, str | None]:
        config_data = source.config(manifest.config)
        verify(config_data, parse_digest(manifest.config.digest), f"configuration of {what}")
        diff_ids = [parse_digest(text) for text in _parse_config(config_data, what).diff_ids]
        if len(diff_ids) != len(manifest.layers):
            raise BadImage(
                f"cannot pull {what}: it has {len(manifest.layers)} layers, and {len(diff_ids)} in its configuration"
            )
        progress.enter(Stage.FETCH)
        return config_data, self._copy_layers(source, manifest.layers, diff_ids, scope, progress)

    def _copy_schema1(
        self, source: ImageSource, manifest: Schema1Manifest, scope: Cancellation, progress: Progress, what: str
    ) -> tuple[bytes, str | None]:
        """The diff ids come to light only by unpacking, and the configuration is made from them."""
        progress.enter(Stage.FETCH)
        parent: str | None = None
        diff_ids: list[Digest] = []
        for layer in schema1.layers(manifest):
            progress.layer(layer.digest, 0, LayerState.WAITING)
            with self._stager.fetch(source, layer, None, scope, progress) as staged:
                diff_ids.append(staged.diff_id)
                parent = staged.commit(parent)
                progress.layer(layer.digest, staged.size, LayerState.DONE)
        return schema1.make_config(manifest, tuple(diff_ids)), parent

    # Layers

    def _copy_layers(
        self,
        source: ImageSource,
        layers: Sequence[Descriptor],
        diff_ids: Sequence[Digest],
        scope: Cancellation,
        progress: Progress,
    ) -> str | None:
        parent: str | None = None
        present = 0
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            record = self.store.find_layer(parent, diff_id)
            if record is None:
                break
            parent = record.id
            present += 1
            progress.layer(layer.digest, layer.size, LayerState.EXISTS)
        missing = list(zip(layers, diff_ids, strict=True))[present:]
        for layer, _ in missing:
            progress.layer(layer.digest, layer.size, LayerState.WAITING, layer.media_type)
        if not missing:
            return parent
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(scope.part())
            pool = stack.enter_context(ThreadPoolExecutor(min(len(missing), PARALLEL), thread_name_prefix="layer"))
            futures = []
            expected = parent
            for number, (layer, diff_id) in enumerate(missing, present + 1):
                chain = diff_ids[:number]
                futures.append(pool.submit(self._stager.stage, source, layer, chain, expected, part, progress))
                expected = layer_id(expected, diff_id)
            stack.callback(_discard, futures)
            stack.callback(part.cancel, "another layer failed")
            for (layer, _), future in zip(missing, futures, strict=True):
                with _result(future, futures) as staged:
                    parent = staged.commit(parent)
                progress.layer(layer.digest, layer.size, LayerState.DONE)
        return parent


def _result(future: Future[StagedLayer], all_futures: Sequence[Future[StagedLayer]]) -> StagedLayer:
    """The future's result; if it was ended because another failed, that one's error."""
    try:
        return future.result()
    except Cancelled:
        for other in all_futures:
            error = other.exception()
            if error is not None and not isinstance(error, Cancelled):
                raise error from None
        raise


def _discard(futures: Sequence[Future[StagedLayer]]) -> None:
    for future in futures:
        if not future.cancel() and future.exception() is None:
            future.result().close()


def _digest_of_document(served: Served, document: Manifest | Index | Schema1Manifest) -> Digest:
    return digest_of(schema1.payload(served.data) if isinstance(document, Schema1Manifest) else served.data)


def _big_data(
    config_digest: Digest, config: bytes, resolved: _Resolved, signatures: Sequence[Signature]
) -> dict[str, bytes]:
    """The image's data under the keys, and in the order, that containers/storage's other users expect."""
    return {
        config_digest: config,
        **{f"manifest-{digest}": data for digest, data in resolved.lists},
        f"manifest-{resolved.digest}": resolved.raw,
        "manifest": resolved.raw,
        **trust.big_data(signatures, resolved.digest),
    }


def _parse_config(data: bytes, what: str) -> ImageConfig:
    """As `parse_config`, but raises BadImage for times that others with whom we share the store could not read."""
    config = parse_config(data, what)
    for time in (config.created, *(entry.created for entry in config.history or ())):
        if time is not None and not is_time(time):
            raise BadImage(f"cannot use configuration of {what}: {time[:60]!r} is not a time")
    return config


def _platforms(index: Index) -> str:
    named = {f"{entry.platform.os}/{entry.platform.architecture}" for entry in index.manifests if entry.platform}
    named.discard("unknown/unknown")
    return f", only for {', '.join(sorted(named)[:12])}" if named else ""
