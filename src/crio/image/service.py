"""What the daemon knows of images, and how it gets and loses them.

Questions are answered from the store's records, which are cached as long as nobody has written them: microseconds, on
the event loop. Pulls and loads are done by the image worker. Identical pulls are one, which goes on when its callers
leave, so that a retry joins it or finds the image.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from crio.base.errors import Cancelled, CrioError, DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from crio.base.executor import Executor
from crio.base.ids import is_full_id
from crio.base.jobs import Job, JobTable
from crio.config.model import Config
from crio.image import registries
from crio.image.artifacts.layout import ArtifactInfo
from crio.image.artifacts.view import Artifacts
from crio.image.counting import PullObserver, count_pull
from crio.image.credentials import Credentials
from crio.image.pins import Pins
from crio.image.pulls import OnProgress, PullProgress, PullStatus, PullUnderWay
from crio.image.records import ImageInfo, make_info, repositories
from crio.image.transfer.kept import KeptBlobs
from crio.image.trust.policy import Policies, references
from crio.image.use import UseCheck
from crio.image.worker.messages import NODE_TRANSPORTS, Load, Pull, Settings, StoredImage, Update
from crio.image.worker.pool import WorkerPool
from crio.storage.records import ImageRecord
from crio.storage.store import Store
from crio.wire import reference

log = logging.getLogger(__name__)

_MIN_PREFIX = 3
"""Characters of an id below which a text is not tried as one."""
_PULLS = 3
_STOP_GRACE = 0.0
_KEPT = "crio-blobs"
"""Directory of the pieces that interrupted pulls leave."""


class FsUsage(msgspec.Struct, frozen=True):
    mountpoint: str
    used_bytes: int
    inodes_used: int


class ImageService:
    """All images of the node."""

    def __init__(
        self,
        config: Config,
        store: Store,
        executor: Executor,
        jobs: JobTable | None = None,
        observer: PullObserver | None = None,
    ) -> None:
        """`jobs`: where pulls are listed among the daemon's other jobs; its owner stops it. Else an own one."""
        self._observer = observer
        self._store = store
        self._executor = executor
        self._jobs = jobs or JobTable()
        self.workers = WorkerPool(msgspec.json.encode(store.options))
        self._pulls: dict[str, PullUnderWay] = {}
        self._known: dict[str, tuple[ImageRecord, ImageInfo]] = {}
        self._artifact_stores = config.runtime.additional_artifact_stores
        self.artifacts = Artifacts(store.options.graphroot, self._artifact_stores)
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Take over a changed configuration; pulls under way keep the old one."""
        image = config.image
        self._config = image
        self._keys_path = config.runtime.decryption_keys_path
        self._policies = Policies(image.signature_policy, image.signature_policy_dir)
        temporary = image.big_files_temporary_dir or os.path.join(self._store.options.graphroot, "tmp")
        self._kept = KeptBlobs(os.path.join(temporary, _KEPT))
        self._pull_cgroup = config.runtime.separate_pull_cgroup
        self._use = UseCheck(self.workers, self._policies, self._settings())
        self._pins = Pins((*image.pinned_images, image.pause_image))
        self._known.clear()

    async def start(self) -> None:
        """Old pieces of interrupted pulls go. Nothing is started before there is work."""
        await self._executor.run(self._kept.clean)

    async def stop(self) -> None:
        """Cancel all pulls and wait for the workers' end."""
        await self.workers.stop()
        await self._jobs.stop(_STOP_GRACE)

    # Questions

    def list(self, name: str | None = None) -> Sequence[ImageInfo]:
        """All images, or the one that `name` means, if any."""
        if name:
            found = self.status(name)
            return [found] if found is not None else []
        records = self._store.images()
        infos = [self._info(record) for record in records]
        if len(self._known) > len(records):
            self._known = {info.id: self._known[info.id] for info in infos if info.id in self._known}
        return infos + list(self.artifacts.all(self._pins))

    def status(self, name_or_id: str) -> ImageInfo | None:
        """The image with this name, digest, id or unambiguous id prefix; None if there is none.

        Raises InvalidArgument if several ids start with it.
        """
        try:
            return self.resolve(name_or_id)
        except NotFound:
            return None

    def resolve(self, name_or_id: str) -> ImageInfo:
        """As `status`, but raises NotFound."""
        text = name_or_id.strip()
        record = self._find(text)
        if record is not None:
            return self._info(record)
        artifact = self._find_artifact(text)
        if artifact is None:
            raise NotFound(f"cannot find image {text[:300]!r}; pull it first")
        return artifact

    def pulls(self) -> Sequence[PullStatus]:
        """The pulls and loads under way, oldest first."""
        for key, pull in self._pulls.items():
            job = self._jobs.find(key)
            pull.status.waiters = job.waiters if job else 0
        return sorted((pull.status for pull in self._pulls.values()), key=lambda status: status.started_at)

    async def fs_info(self) -> FsUsage:
        """What images and the containers' writable layers take, with what interrupted pulls have left, and where."""
        usage = await self._executor.run(self._store.fs_usage)
        size, files = self.artifacts.usage()
        return FsUsage(self._store.image_place, usage.bytes + size + self._kept.usage(), usage.inodes + files)

    async def container_fs_info(self) -> FsUsage:
        """The same for containers' layers: another file system if images are kept apart (imagestore)."""
        options = self._store.options
        if self._store.image_place == options.graphroot:
            return await self.fs_info()
        usage = self._store.container_fs_usage()
        return FsUsage(options.graphroot, usage.bytes, usage.inodes)

    async def check_use(self, image: ImageInfo, asked: str, namespace: str) -> None:
        """Raise SignatureValidationFailed unless the namespace's policy accepts the image, by its kept signatures, and
        PermissionDenied if it is encrypted and the node has no key for it.

        `asked` is the name by which the user knows it. It is judged under that name, and by its id under any that it
        has: what somebody may ask for by name is no secret by id.
        """
        await self._use.check(image, self._names_for(image, asked), namespace)

    def _names_for(self, image: ImageInfo, asked: str) -> Sequence[reference.Reference]:
        text = asked.strip()
        if image.id.startswith(text.removeprefix("sha256:") or "-"):
            return references(image.names)
        candidates = self._candidates(_transport_stripped(text))
        return [name for name in candidates if str(name.canonical()) in image.names] or candidates

    # Changes

    async def pull(
        self,
        name: str,
        auth: Credentials | None = None,
        *,
        namespace: str = "",
        cgroup_parent: str = "",
        on_progress: OnProgress | None = None,
        deadline: float | None = None,
    ) -> ImageInfo:
        """Get an image into the store. `namespace` and `cgroup_parent` are the pod's; `deadline` is in the event loop's
        time.

        Raises InvalidArgument for a bad name, NotFound, CredentialsRefused, RegistryUnavailable, BadImage, BadContent,
        and Unavailable if the worker came to an end or the image is removed time and again.
        """
        image = _transport_stripped(_with_transport(name, self._config.default_transport))
        request = Pull(0, image, self._settings(), auth.plain() if auth else None, namespace)
        _check_name(request.image)
        self._check_policy(request.image, namespace)
        if (ready := self._in_additional_store(request.image)) is not None:
            return ready
        group = cgroup_parent if self._pull_cgroup == "pod" else self._pull_cgroup
        identity = (request.image, auth.plain().fingerprint if auth else b"", namespace, group)
        key = "image:" + hashlib.sha256(msgspec.json.encode(identity)).hexdigest()

        async def work(on_update: Callable[[Update], None]) -> tuple[StoredImage, ...]:
            return await self.workers.pull(request, on_update, group)

        for _ in range(_PULLS):
            stored = await self._run("PullImage", name, namespace, key, work, on_progress, deadline)
            # Somebody may have removed it between the worker's last step and this one.
            if (pulled := self.status(stored[0].id)) is not None:
                return pulled
        raise Unavailable(f"cannot pull {name}: it is removed as soon as it is there, {_PULLS} times now; try again")

    async def load(
        self,
        path: str,
        names: Sequence[str] = (),
        *,
        format: str = "",
        on_progress: OnProgress | None = None,
        deadline: float | None = None,
    ) -> Sequence[ImageInfo]:
        """Get the images in an OCI layout, oci-archive, docker-archive or `dir:` directory into the store.

        `format` is found out if it is empty. `names` replace those in the file. Raises as `pull` does.
        """
        request = Load(0, path, self._settings(), format, tuple(names))
        key = "load:" + hashlib.sha256(msgspec.json.encode(request)).hexdigest()

        async def work(on_update: Callable[[Update], None]) -> tuple[StoredImage, ...]:
            return await self.workers.load(request, on_update)

        stored = await self._run("LoadImage", path, "", key, work, on_progress, deadline)
        return [info for image in stored if (info := self.status(image.id)) is not None]

    async def remove(self, name_or_id: str) -> bool:
        """Remove an image with all its names, whichever of them is given (as the CRI has it). False if unknown.

        Raises FailedPrecondition if a container uses it.
        """
        info = self.status(name_or_id)
        if info is None:
            return False
        try:
            if isinstance(info, ArtifactInfo):
                self.artifacts.check_removable(info)
                await self._executor.run(info.layout.remove, info)
            else:
                await self._executor.run(self._store.remove_image, info.id)
        except NotFound:
            return False
        return True

    # Inside

    async def _run(
        self,
        kind: str,
        subject: str,
        namespace: str,
        key: str,
        work: Callable[[Callable[[Update], None]], Awaitable[tuple[StoredImage, ...]]],
        on_progress: OnProgress | None,
        deadline: float | None,
    ) -> tuple[StoredImage, ...]:
        pull = self._pulls.get(key)
        if pull is None:
            pull = self._pulls[key] = PullUnderWay(PullStatus(subject, namespace))
        elif on_progress is not None:
            on_progress(PullProgress(list(pull.status.layers.values()), pull.status.stage))

        async def supervised(job: Job) -> tuple[StoredImage, ...]:
            def on_update(update: Update) -> None:
                if update.stage:
                    job.enter(update.stage)
                pull.update(update)

            failure: CrioError | None = None
            try:
                stored = await self._until_stalled(pull.status, work(on_update))
                pull.log_end()
                return stored
            except CrioError as error:
                failure = error
                raise
            except asyncio.CancelledError:
                failure = Cancelled("the daemon is stopping")
                raise
            finally:
                job.enter("end", failed=failure is not None)
                self._pulls.pop(key, None)
                if self._observer is not None:
                    count_pull(self._observer, subject, pull.status.layers.values(), failure)

        if on_progress is not None:
            pull.observers.append(on_progress)
        try:
            return await self._jobs.run(kind, subject, supervised, key=key, deadline=deadline)
        except DeadlineExceeded as error:
            if self._jobs.find(key) is None:
                raise
            raise DeadlineExceeded(f"{error.message} ({pull.status.describe()})") from None
        finally:
            if on_progress is not None:
                pull.observers.remove(on_progress)
            if self._jobs.find(key) is None:
                self._pulls.pop(key, None)

    async def _until_stalled(
        self, status: PullStatus, work: Awaitable[tuple[StoredImage, ...]]
    ) -> tuple[StoredImage, ...]:
        """Do `work`, but no longer than it makes progress (pull_progress_timeout)."""
        limit = self._config.pull_progress_timeout
        task = asyncio.ensure_future(work)
        if limit <= 0:
            return await task
        try:
            while not task.done():
                await asyncio.wait([task], timeout=limit / 10)
                if task.done():
                    break
                log.info("pulling %s: %s", status.image, status.describe())
                if time.monotonic() - status.progressed_at >= limit:
                    raise DeadlineExceeded(
                        f"cannot pull {status.image}: no progress for {limit:g} s: {status.describe()}"
                    )
            return task.result()
        finally:
            task.cancel()

    def _in_additional_store(self, image: str) -> ImageInfo | None:
        if not self._artifact_stores or image.partition(":")[0] in NODE_TRANSPORTS:
            return None
        return next(filter(None, map(self.artifacts.in_additional, self._candidates(image))), None)

    def _check_policy(self, image: str, namespace: str) -> None:
        transport = image.partition(":")[0]
        if transport in NODE_TRANSPORTS:
            self._policies.refuse_file_early(transport, image, namespace)
        else:
            self._policies.refuse_early(self._candidates(image), namespace)

    def _settings(self) -> Settings:
        config = self._config
        return Settings(
            short_name_mode=config.short_name_mode,
            global_auth_file=config.global_auth_file,
            namespaced_auth_dir=config.namespaced_auth_dir,
            pause_image=config.pause_image,
            pause_image_auth_file=config.pause_image_auth_file,
            temporary_directory=config.big_files_temporary_dir or "/var/tmp",
            signature_policy=config.signature_policy,
            signature_policy_dir=config.signature_policy_dir,
            decryption_keys_path=self._keys_path,
            additional_artifact_stores=self._artifact_stores,
            kept_directory=self._kept.directory,
        )

    def _find(self, text: str) -> ImageRecord | None:
        bare = text.removeprefix("sha256:")
        if is_full_id(bare):
            return self._by_id(bare)
        for name in self._names_like(text):
            if (record := self._by_name(name)) is not None:
                return record
        return self._by_id(bare) if _may_be_id(bare) else None

    def _find_artifact(self, text: str) -> ArtifactInfo | None:
        bare = text.removeprefix("sha256:")
        if _may_be_id(bare):
            found = self.artifacts.by_id(bare, self._pins)
            if found is not None or is_full_id(bare):
                return found
        found_by_name = (self.artifacts.find(name, self._pins) for name in self._names_like(text))
        return next(filter(None, found_by_name), None)

    def _names_like(self, text: str) -> Sequence[reference.Reference]:
        """The full names that a text may mean; none if it cannot be a name."""
        try:
            return self._candidates(_transport_stripped(text))
        except InvalidArgument:
            return ()

    def _candidates(self, text: str) -> Sequence[reference.Reference]:
        if not reference.is_short_name(text):
            return [reference.parse(text).with_default_tag()]
        return registries.load().local_candidates(text)

    def _by_id(self, prefix: str) -> ImageRecord | None:
        try:
            return self._store.image(prefix)
        except NotFound:
            return None

    def _by_name(self, name: reference.Reference) -> ImageRecord | None:
        """By the name as it is stored; with a digest also any image of that digest which has, or had, a name there."""
        record = self._by_id(str(name.canonical()))
        if record is not None or name.digest is None:
            return record
        for candidate in self._store.images():
            if name.digest in candidate.digests and name.repository in repositories(candidate):
                return candidate
        return None

    def _info(self, record: ImageRecord) -> ImageInfo:
        known = self._known.get(record.id)
        if known is not None and known[0] is record:
            return known[1]
        pinned = self._pins.match(record.names)
        try:
            size = self._store.image_size(record.id)
        except NotFound:
            # A layer of it is lost, or it goes just now. All others are listed as well; its layers may come back.
            return make_info(record, sum(record.big_data_sizes.values()), pinned, self._store.image_big_data)
        info = make_info(record, size, pinned, self._store.image_big_data)
        self._known[record.id] = (record, info)
        return info


def _may_be_id(text: str) -> bool:
    """Whether a text is long enough for the beginning of an id, and has nothing else in it."""
    return len(text) >= _MIN_PREFIX and all(c in "0123456789abcdef" for c in text)


def _with_transport(name: str, default: str) -> str:
    """The name, with the default transport before it if it has none of its own."""
    text = name.strip()
    return text if text.startswith(("docker://", *(f"{item}:" for item in NODE_TRANSPORTS))) else default + text


def _transport_stripped(name: str) -> str:
    return name.strip().removeprefix("docker://")


def _check_name(image: str) -> None:
    """A malformed name is refused here: no process is started for it."""
    transport = image.partition(":")[0]
    if transport not in NODE_TRANSPORTS:
        reference.parse(image)
