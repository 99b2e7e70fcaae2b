"""What the image worker does with a request. Blocking; one thread per request."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence

from crio.base.errors import CrioError, InvalidArgument, NotFound
from crio.image import registries
from crio.image.cancellation import Cancellation
from crio.image.copy import Copier
from crio.image.credential_helper import ask_helper
from crio.image.credentials import CredentialSources, find
from crio.image.errors import (
    BadContent,
    BadImage,
    CredentialsRefused,
    RegistryUnavailable,
    SignatureValidationFailed,
)
from crio.image.platforms import HostPlatform
from crio.image.progress import Progress
from crio.image.registry.client import RegistryClient
from crio.image.registry.http import HttpClient
from crio.image.registry.proxy import proxies_of
from crio.image.registry.tls import TlsContexts
from crio.image.source import stored
from crio.image.source.base import ImageSource
from crio.image.source.docker_archive import LIST_FILE, DockerArchiveSource, read_list
from crio.image.source.files import Files, open_files
from crio.image.source.layout import INDEX_FILE, DirectorySource, LayoutSource, entries_by_name, is_directory_image
from crio.image.source.registry import RegistrySource
from crio.image.source.stored import StoredImageSource
from crio.image.transfer.kept import KeptBlobs
from crio.image.trust import registries_d
from crio.image.trust.admission import Admission, in_directory, in_registry, nowhere
from crio.image.trust.policy import Policies, Policy, Requirements
from crio.image.trust.stored import verify
from crio.image.worker.messages import LOCAL_TRANSPORTS, Load, Pull, Settings, StoredImage, Verify, Work
from crio.wire import reference

log = logging.getLogger(__name__)

_DOCKER = "docker://"
_TRY_ELSEWHERE = (RegistryUnavailable, NotFound, CredentialsRefused, BadContent, BadImage)


class Worker:
    """Serves requests against one store."""

    def __init__(self, copier: Copier, host: HostPlatform) -> None:
        self._copier = copier
        self._host = host
        self._http = HttpClient(TlsContexts(), proxies_of(os.environ))

    def run(self, request: Work, scope: Cancellation, progress: Progress) -> tuple[StoredImage, ...]:
        """The images that are in the store now. Raises CrioError or OSError."""
        settings = request.settings
        if isinstance(request, Load):
            # Whoever may ask for this may also write into the store.
            return self._load(request.path, request.format, request.names, settings, (), scope, progress)
        policy = Policies(settings.signature_policy, settings.signature_policy_dir).find(request.namespace)
        if isinstance(request, Verify):
            names = [reference.parse(name) for name in request.names]
            verify(
                self._copier.store,
                request.image_id,
                names,
                policy,
                settings.decryption_keys_path,
                settings.additional_artifact_stores,
            )
            return ()
        transport, colon, rest = request.image.partition(":")
        if colon and transport in LOCAL_TRANSPORTS:
            path, name = _split_path(rest)
            requirements = policy.requirements_of_file(transport, path) if policy is not None else ()
            return self._load(path, transport, (), settings, requirements, scope, progress, only=name)
        if colon and transport == stored.TRANSPORT:
            requirements = policy.requirements_of_file(transport, rest) if policy is not None else ()
            return (self._from_store(rest, settings, requirements, scope, progress),)
        return (self._pull(request, request.image.removeprefix(_DOCKER), policy, scope, progress),)

    def _pull(
        self, request: Pull, image: str, policy: Policy | None, scope: Cancellation, progress: Progress
    ) -> StoredImage:
        """From the first place that has it; the error of the last place if none does."""
        configuration = registries.load()
        settings = request.settings
        sources = CredentialSources(
            settings.namespaced_auth_dir,
            settings.pause_image,
            settings.pause_image_auth_file,
            settings.global_auth_file,
        )
        blobs = KeptBlobs(settings.kept_directory) if settings.kept_directory else None
        signature_places = registries_d.load()
        failures: list[CrioError] = []
        for name in configuration.candidates(image, settings.short_name_mode):
            credentials_for = find(
                request.image,
                name,
                request.credentials.plain() if request.credentials else None,
                request.namespace,
                sources,
                helper=ask_helper,
                credential_helpers=configuration.credential_helpers,
            )
            stored_name = str(name.canonical())
            requirements = policy.requirements(name.canonical()) if policy is not None else ()
            for endpoint in configuration.endpoints(name):
                place = endpoint.reference
                client = RegistryClient(self._http, endpoint, credentials_for(place), scope)
                source = RegistrySource(client, place.target, blobs, scope)
                find_signatures = in_registry(client, place, signature_places, requirements, self._http, scope)
                admission = Admission(requirements, name.canonical(), str(name), find_signatures)
                try:
                    copied = self._copier.copy(
                        source,
                        [stored_name],
                        name.digest,
                        scope,
                        progress,
                        str(name),
                        admission,
                        settings.decryption_keys_path,
                    )
                except SignatureValidationFailed as error:
                    # Another place has the same image; another name is another image, which may be signed.
                    failures.append(error)
                    break
                except _TRY_ELSEWHERE as error:
                    failures.append(error)
                    continue
                for failure in failures:
                    log.warning("pulled %s from %s after: %s", name, place.domain, failure.message)
                return StoredImage(copied.image_id, (stored_name,), copied.digest)
        raise _combined(failures)

    def _from_store(
        self, text: str, settings: Settings, requirements: Requirements, scope: Cancellation, progress: Progress
    ) -> StoredImage:
        """From a store on this machine: another one, or the daemon's own, where the image has only to be found."""
        wanted = stored.parse_stored_name(text)
        name = reference.parse(wanted.image).with_default_tag()
        with contextlib.ExitStack() as stack:
            own = self._copier.store
            same = wanted.graphroot in ("", own.options.graphroot)
            store = own if same else stack.enter_context(wanted.open_store())
            record = store.image(str(name.canonical()))
            names = (str(name.canonical()),)
            if same:
                return StoredImage(record.id, names, record.digest)
            copied = self._copier.copy(
                StoredImageSource(store, record),
                names,
                None,
                scope,
                progress,
                text,
                Admission(requirements, None, text, nowhere),
                settings.decryption_keys_path,
            )
            return StoredImage(copied.image_id, names, copied.digest)

    def _load(
        self,
        path: str,
        form: str,
        names: Sequence[str],
        settings: Settings,
        requirements: Requirements,
        scope: Cancellation,
        progress: Progress,
        only: str = "",
    ) -> tuple[StoredImage, ...]:
        if not path.startswith("/"):
            raise InvalidArgument(f"cannot load {path!r}: it is not an absolute path")
        files = open_files(path, settings.temporary_directory)
        try:
            found = [(own, source) for own, source in _sources(files, form, self._host) if _is_wanted(only, own)]
            if not found:
                raise NotFound(f"cannot load {only or 'an image'} from {path}: it is not there")
            if names and len(found) > 1:
                raise InvalidArgument(f"cannot give names to what is in {path}: it has {len(found)} images")
            loaded: list[StoredImage] = []
            admission = Admission(
                requirements, None, path, in_directory(files) if is_directory_image(files) else nowhere
            )
            for own, source in found:
                stored_names = tuple(str(reference.parse(text).canonical()) for text in names) or own
                copied = self._copier.copy(
                    source, stored_names, None, scope, progress, path, admission, settings.decryption_keys_path
                )
                loaded.append(StoredImage(copied.image_id, stored_names, copied.digest))
            return tuple(loaded)
        finally:
            files.close()


def _sources(files: Files, form: str, host: HostPlatform) -> Iterator[tuple[tuple[str, ...], ImageSource]]:
    """The images in a directory or archive, with the names that it gives them."""
    kind = form or _detect(files)
    if kind == "docker-archive":
        for image in read_list(files):
            tags = tuple(str(reference.parse(tag).canonical()) for tag in image.repo_tags or ())
            yield tags, DockerArchiveSource(files, image)
    elif kind in ("oci", "oci-archive"):
        for name, entry in entries_by_name(files, host).items():
            yield _layout_names(name, files.origin), LayoutSource(files, entry)
    elif kind == "dir":
        yield (), DirectorySource(files)
    else:
        raise InvalidArgument(f"cannot load {files.origin}: unknown format {form!r}; use {', '.join(LOCAL_TRANSPORTS)}")


def _detect(files: Files) -> str:
    if is_directory_image(files):
        return "dir"
    if files.exists(LIST_FILE):
        return "docker-archive"
    if files.exists(INDEX_FILE):
        return "oci"
    raise BadImage(f"cannot load {files.origin}: it is no OCI layout, docker archive or image directory")


def _layout_names(name: str, origin: str) -> tuple[str, ...]:
    """A layout may keep a full name, a short one, or only a tag; what has no registry was made locally."""
    if not name:
        return ()
    try:
        if "/" not in name and ":" not in name:
            stem = os.path.basename(origin.rstrip("/")).split(".")[0].lower() or "image"
            return (str(reference.parse(f"localhost/{stem}:{name}").canonical()),)
        text = f"localhost/{name}" if reference.is_short_name(name) else name
        return (str(reference.parse(text).canonical()),)
    except InvalidArgument:
        log.warning("loaded an image from %s without its name %r, which is not one", origin, name[:200])
        return ()


def _is_wanted(name: str, own: Sequence[str]) -> bool:
    """Whether an image with these names is the one asked for: by a name, or by its tag alone; "" asks for all."""
    if not name or any(name in (full, full.rpartition(":")[2]) for full in own):
        return True
    try:
        parsed = reference.parse(f"localhost/{name}" if reference.is_short_name(name) else name)
    except InvalidArgument:
        return False
    return str(parsed.canonical()) in own or str(reference.parse(name).canonical()) in own


def _split_path(text: str) -> tuple[str, str]:
    """`path[:name]`, where the name may have a tag of its own."""
    path, _, name = text.partition(":")
    return path, name


def _combined(failures: Sequence[CrioError]) -> CrioError:
    """The last place is the image's own registry; what mirrors said before stands behind.

    That an image was there and is not trusted is more than that another was not there.
    """
    distrusted = [error for error in failures if isinstance(error, SignatureValidationFailed)]
    last = (distrusted or failures)[-1]
    before = list(dict.fromkeys(error.message for error in failures if error is not last))
    if before:
        last.message = f"{last.message} (before that: {'; '.join(before)})"[:2048]
        last.args = (last.message,)
    return last
