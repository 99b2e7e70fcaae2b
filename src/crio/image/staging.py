"""Layers received and unpacked beside the store, each once, before they take their place in it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from crio.base.errors import CrioError, DataLoss, InvalidArgument, ResourceExhausted
from crio.base.failpoints import failpoint
from crio.base.ids import Digest, parse_digest
from crio.image.cancellation import Cancellation
from crio.image.compression import Compression
from crio.image.errors import BadContent
from crio.image.layers import Received, receive_layer
from crio.image.progress import LayerState, Progress
from crio.image.registry.client import NoRanges
from crio.image.source.base import ImageSource, LayerContent
from crio.image.source.encrypted import EncryptedContent
from crio.image.transfer.parts import KEY, Assembler, PartsUnusable, make_plan
from crio.image.transfer.toc import Places, TableTap, places_of
from crio.spec.oci_image import Descriptor
from crio.storage import layer_data
from crio.storage.store import Store
from crio.storage.writer import LayerWriter

log = logging.getLogger(__name__)

PARALLEL = 6
"""Layers that are fetched at once, in all pulls together."""
_CLAIM_POLL = 0.2


class StagedLayer:
    """A layer that waits for those below it: unpacked beside the store, or put there by another pull."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        *,
        layer_id: str | None = None,
        writer: LayerWriter | None = None,
        received: Received | None = None,
        content: LayerContent | None = None,
        keep: Callable[[str], None] = lambda layer_id: None,
    ) -> None:
        """`keep` is told the layer's id when it has one."""
        self._keep = keep
        self._stack = stack
        self._layer_id = layer_id
        self._writer = writer
        self._received = received
        self._content = content

    @property
    def diff_id(self) -> Digest:
        assert self._writer is not None
        return Digest(self._writer.finish().diff_id)

    @property
    def size(self) -> int:
        """Bytes that were received."""
        return self._received.size if self._received is not None else 0

    def commit(self, parent: str | None) -> str:
        """Put the layer on top of `parent`; its id."""
        if self._layer_id is not None:
            return self._layer_id
        assert self._writer is not None
        assert self._received is not None
        record = self._writer.commit(
            parent,
            compressed_digest=self._received.digest,
            compressed_size=self._received.size,
            compression=self._received.compression,
        )
        if self._content is not None:
            self._content.settle()
        self._keep(record.id)
        return record.id

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> StagedLayer:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()


class Stager:
    """Shared by all pulls into one store. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._slots = threading.BoundedSemaphore(PARALLEL)
        self._claims = _Claims()

    def stage(
        self,
        source: ImageSource,
        layer: Descriptor,
        chain: Sequence[Digest],
        parent: str | None,
        part: Cancellation,
        progress: Progress,
    ) -> StagedLayer:
        """Receive the layer that ends `chain`, unless another pull puts it into the store meanwhile.

        `parent` is the id that the layer below will have. An error cancels `part`. Raises BadContent, BadImage,
        Cancelled, and what source and store raise.
        """
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self._claims.hold("\n".join(chain), part))
                if (record := self._store.find_layer(parent, chain[-1])) is not None:
                    return StagedLayer(stack.pop_all(), layer_id=record.id)
                return self.fetch(source, layer, chain[-1], part, progress, stack.pop_all())
        except BaseException:
            part.cancel("another layer failed")
            raise

    def fetch(
        self,
        source: ImageSource,
        layer: Descriptor,
        wanted: Digest | None,
        scope: Cancellation,
        progress: Progress,
        held: contextlib.ExitStack | None = None,
    ) -> StagedLayer:
        """Receive and unpack a layer, whose diff id must be `wanted` if that is known.

        `held` is closed with the result, or if there is none.
        """
        with held or contextlib.ExitStack() as stack, self._slots:
            scope.check()
            progress.layer(layer.digest, layer.size, LayerState.FETCHING)
            places = places_of(layer)
            if places is not None and wanted is not None:
                try:
                    return self._from_parts(source, layer, wanted, places, scope, progress, stack)
                except (PartsUnusable, NoRanges) as error:
                    log.debug("fetching layer %s as a whole: %s", layer.digest, error)
            try:
                return self._receive(source, layer, wanted, scope, progress, stack)
            except _StalePieces as error:
                log.warning("fetching layer %s from its start: what was kept of it is of no use: %s", *error.args)
                return self._receive(source, layer, wanted, scope, progress, stack)

    def _receive(
        self,
        source: ImageSource,
        layer: Descriptor,
        wanted: Digest | None,
        scope: Cancellation,
        progress: Progress,
        held: contextlib.ExitStack,
    ) -> StagedLayer:
        content = source.layer(layer)
        places = places_of(layer)
        tap = TableTap(places) if places is not None else None
        with contextlib.ExitStack() as stack:
            stack.callback(content.leave)
            writer = stack.enter_context(self._store.stage_layer())
            try:
                with contextlib.closing(content.chunks()) as chunks:
                    received = receive_layer(
                        tap.pass_on(chunks) if tap is not None else chunks,
                        writer,
                        scope,
                        digest=parse_digest(layer.digest),
                        size=layer.size or None,
                        on_bytes=lambda total: progress.received(layer.digest, total),
                        opened=content.opened if isinstance(content, EncryptedContent) else iter,
                    )
                if isinstance(content, EncryptedContent):
                    # The store finds layers by the digest of what was received: not so what only a key makes readable.
                    received = Received(Digest(""), 0, received.compression)
                failpoint("image.staging.received")
                diff_id = writer.finish().diff_id
                if wanted is not None and diff_id != wanted:
                    raise BadContent(f"cannot use layer {layer.digest}: unpacked it is {diff_id} and not {wanted}")
            except (InvalidArgument, DataLoss) as error:
                if content.settle():
                    raise _StalePieces(layer.digest, error.message) from None
                raise
            except ResourceExhausted:
                content.settle()
                raise
            outer = held.pop_all()
            outer.push(stack.pop_all())
            table = tap.table() if tap is not None else None
            return StagedLayer(
                outer, writer=writer, received=received, content=content, keep=partial(self._keep_table, table)
            )

    def _from_parts(
        self,
        source: ImageSource,
        layer: Descriptor,
        wanted: Digest,
        places: Places,
        scope: Cancellation,
        progress: Progress,
        held: contextlib.ExitStack,
    ) -> StagedLayer:
        """The layer from what the store has, and the rest of it from the source.

        Raises PartsUnusable if it must be fetched as a whole.
        """
        get_part = partial(source.part, layer)
        plan = make_plan(self._store, places, layer.size, get_part)
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(self._store.stage_layer())
            assembler = Assembler(self._store, plan, get_part, partial(progress.received, layer.digest))
            try:
                with contextlib.closing(assembler.tar()) as pieces:
                    for piece in pieces:
                        scope.check()
                        writer.write(piece)
                staged = writer.finish()
            except InvalidArgument as error:
                raise PartsUnusable(error.message) from None
            if staged.diff_id != wanted:
                raise PartsUnusable(f"put together it is {staged.diff_id}, and should be {wanted}")
            skipped = layer.size - plan.fetched
            progress.skipped(layer.digest, skipped)
            log.info("layer %s: %d of %d bytes were here in other layers", layer.digest, skipped, layer.size)
            # The blob's own digest is not known to be that of this content: nobody has seen all of it.
            received = Received(wanted, staged.diff_size, Compression.NONE)
            outer = held.pop_all()
            outer.push(stack.pop_all())
            return StagedLayer(outer, writer=writer, received=received, keep=partial(self._keep_table, plan.table_data))

    def _keep_table(self, table: bytes | None, layer_id: str) -> None:
        """For later layers, which may have files in common with this one. Not worth failing for."""
        if table is None:
            return
        try:
            layer_data.write(self._store, layer_id, KEY, table)
        except (CrioError, OSError) as error:
            log.warning("cannot keep the table of contents of layer %s: %s", layer_id, error)


class _StalePieces(Exception):
    """What an earlier attempt had kept was not what the layer is: digest of the layer, and the reason."""


class _Claims:
    """Which layers are being made by this process, so that each is made once."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, key: str, scope: Cancellation) -> Iterator[None]:
        """Waits until nobody else holds `key`. Who holds one may wait only for layers below it: no circle."""
        with self._changed:
            while key in self._held:
                scope.check()
                self._changed.wait(_CLAIM_POLL)
            self._held.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()
