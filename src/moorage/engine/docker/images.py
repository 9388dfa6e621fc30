"""Images: the pause image made on the spot, and everything else pulled, with ECS's words when that fails.

Several tasks that need one image at the same time share one pull. Image names arrive as the caller wants them pulled;
nothing is rewritten here.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.engine.docker import pause
from moorage.engine.docker.client import ApiError, Client, unavailable
from moorage.engine.driver import CannotPullContainerError, EngineUnavailable, PulledImage, RegistryAuth

# After a registry could not be reached, an image that is here anyway is used without asking for this many seconds.
UNREACHABLE_SECONDS = 30.0
# A registry that cannot be reached is asked five times in all, as ECS does, with these pauses (seconds).
_PAUSES = (0.1, 0.2, 0.4, 0.8)
_DOCKER_HUB = "docker.io"
_UNREACHABLE = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|TLS handshake|deadline exceeded|Client.Timeout"
    r"|network is unreachable|connection reset|EOF$"
)
# First match wins: what Docker says → what stands at the end of ECS's sentence.
_TAILS = (
    (
        re.compile(r"pull access denied|requested access to the resource is denied|repository does not exist"),
        "pull access denied, repository does not exist or may require authorization:"
        " server message: insufficient_scope: authorization failed",
    ),
    (
        re.compile(r"manifest unknown|manifest for .* not found|repository .* not found|name unknown"),
        "{ref}: not found",
    ),
    (
        re.compile(r"no matching manifest for (?P<platform>\S+)"),
        "image Manifest does not contain descriptor matching platform '{platform}'",
    ),
)


def split_reference(image: str) -> tuple[str, str]:
    """(name, tag or digest) as POST /images/create wants them: "app" → ("app", "latest")."""
    name, _, digest = image.partition("@")
    head, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    bare = f"{head}/{last}" if head else last
    return bare, digest or tag or "latest"


def full_reference(image: str) -> str:
    """As containerd resolves it and ECS prints it: "app" → "docker.io/library/app:latest"."""
    name, reference = split_reference(image)
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"{_DOCKER_HUB}/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"{_DOCKER_HUB}/{name}"
    return f"{name}{'@' if ':' in reference else ':'}{reference}"


def pull_failure(image: str, message: str) -> str:
    """The text after "CannotPullContainerError: " (ecs-tasks §3)."""
    reference = full_reference(image)
    tail = message
    for pattern, sentence in _TAILS:
        match = pattern.search(message)
        if match:
            tail = sentence.format(ref=reference, platform=match.groupdict().get("platform"))
            break
    tries = 1 + len(_PAUSES) if _UNREACHABLE.search(message) else 1
    return f"pull image manifest has been retried {tries} time(s): failed to resolve ref {reference}: {tail}"


def pulled(image: str, inspected: Mapping[str, Any]) -> PulledImage:
    """Pins what was pulled: "name@sha256:…" where Docker knows the digest, else the name itself."""
    name, _ = split_reference(image)
    full = full_reference(name).rpartition(":")[0]
    for entry in inspected.get("RepoDigests") or []:
        repository, _, digest = str(entry).partition("@")
        if digest and full_reference(repository).rpartition(":")[0] == full:
            return PulledImage(reference=f"{name}@{digest}", digest=digest, id=inspected.get("Id"))
    return PulledImage(reference=image, id=inspected.get("Id"))


def registry_host(image: str) -> str:
    return full_reference(image).partition("/")[0]


# image, user name, architecture, patient
_Key = tuple[str, str | None, str | None, bool]


class Images:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._pulls: dict[_Key, asyncio.Task[None]] = {}
        self._unreachable_until: dict[str, float] = {}
        self._pause_ready = False
        self._pause_lock = asyncio.Lock()

    async def ensure_pause(self) -> None:
        if self._pause_ready:
            return
        async with self._pause_lock:
            if not self._pause_ready:
                if await self._inspect(pause.IMAGE) is None:
                    await self._import_pause()
                self._pause_ready = True

    def forget_pause(self) -> None:
        self._pause_ready = False

    async def remove_pause(self) -> None:
        """Unless another installation uses it."""
        self._pause_ready = False
        try:
            await self._client.call("DELETE", f"/images/{pause.IMAGE}")
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def pull(
        self, image: str, auth: RegistryAuth | None, always: bool, architecture: str | None = None
    ) -> PulledImage:
        found = await self._present(image, auth, always, architecture)
        if not _is_for(found, architecture):
            raise CannotPullContainerError(pull_failure(image, f"no matching manifest for linux/{architecture}"))
        return pulled(image, found)

    async def _present(
        self, image: str, auth: RegistryAuth | None, always: bool, architecture: str | None
    ) -> dict[str, Any]:
        """The inspected image; a local one stands in for what the registry has not or does not tell."""
        local = await self._inspect(image)
        # A digest names its content: what is here is what the registry would send.
        settled = not always or "@sha256:" in image or self._is_unreachable(image)
        if local is not None and settled and _is_for(local, architecture):
            return local
        if image.startswith("sha256:"):
            # The engine's own id of an image: no registry knows it.
            raise CannotPullContainerError(f"No such image: {image}")
        try:
            await self._shared_pull(image, auth, local is None, architecture)
        except ApiError as error:
            if _UNREACHABLE.search(error.message):
                loop = asyncio.get_running_loop()
                self._unreachable_until[registry_host(image)] = loop.time() + UNREACHABLE_SECONDS
            if local is not None:
                return local
            raise CannotPullContainerError(pull_failure(image, error.message)) from error
        found = await self._inspect(image)
        if found is None:
            raise CannotPullContainerError(pull_failure(image, "the image was removed while it was pulled"))
        return found

    def _is_unreachable(self, image: str) -> bool:
        return asyncio.get_running_loop().time() < self._unreachable_until.get(registry_host(image), 0.0)

    async def _shared_pull(
        self, image: str, auth: RegistryAuth | None, patient: bool, architecture: str | None
    ) -> None:
        # By user name: every task brings a token of its own for the same registry.
        key = (image, auth.username if auth else None, architecture, patient)
        task = self._pulls.get(key)
        if task is None:
            pulling = self._pull_with_retries(image, auth, patient, architecture)
            task = asyncio.get_running_loop().create_task(pulling)
            self._pulls[key] = task
            task.add_done_callback(lambda done: self._pull_ended(key, done))
        # A caller that gives up does not take the image away from the others.
        await asyncio.shield(task)

    def _pull_ended(self, key: _Key, done: asyncio.Task[None]) -> None:
        self._pulls.pop(key, None)
        if not done.cancelled():
            done.exception()  # nobody may be waiting for it any more

    async def _pull_with_retries(
        self, image: str, auth: RegistryAuth | None, patient: bool, architecture: str | None
    ) -> None:
        """`patient`: there is no local image to fall back to."""
        for pause_seconds in _PAUSES if patient else ():
            try:
                return await self._pull(image, auth, architecture)
            except ApiError as error:
                if not _UNREACHABLE.search(error.message):
                    raise
            await asyncio.sleep(pause_seconds)
        return await self._pull(image, auth, architecture)

    async def _pull(self, image: str, auth: RegistryAuth | None, architecture: str | None) -> None:
        name, reference = split_reference(image)
        headers = {"X-Registry-Auth": _auth_header(auth)} if auth else None
        query = {"fromImage": name, "tag": reference}
        if architecture is not None:
            query["platform"] = f"linux/{architecture}"
        async with self._client.stream("POST", "/images/create", query=query, headers=headers) as chunks:
            rest = b""
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    _raise_refusal(line)
            _raise_refusal(rest)

    async def _inspect(self, image: str) -> dict[str, Any] | None:
        try:
            return dict(await self._client.call("GET", f"/images/{image}/json"))
        except ApiError as error:
            if error.status in (400, 404):
                return None
            raise CannotPullContainerError(pull_failure(image, error.message)) from error

    async def _import_pause(self) -> None:
        version = await self._client.version()
        if not pause.supported(version.architecture):
            raise EngineUnavailable(
                f"The engine's processor architecture {version.architecture!r} is not supported",
                "the sandbox program exists for amd64 and arm64",
                "use a Docker host of one of these (DOCKER_HOST=…)",
            )
        changes = f'ENTRYPOINT ["/pause"]\nLABEL io.moorage.pause={pause.VERSION}'
        query = {
            "fromSrc": "-",
            "repo": pause.REPOSITORY,
            "tag": pause.VERSION,
            "message": "Moorage: holds the network namespace of a task",
            "changes": changes,
        }
        answer = await self._client.call(
            "POST",
            "/images/create",
            query=query,
            data=pause.image_tar(version.architecture),
            headers={"Content-Type": "application/x-tar"},
        )
        if await self._inspect(pause.IMAGE) is None:
            raise unavailable(self._client.host, None, f"it did not take the image {pause.IMAGE}: {answer!r}")


def _is_for(inspected: Mapping[str, Any], architecture: str | None) -> bool:
    """An image that does not say what it is for is for everything."""
    return architecture is None or (inspected.get("Architecture") or architecture) == architecture


def _auth_header(auth: RegistryAuth) -> str:
    return base64.urlsafe_b64encode(
        msgspec.json.encode({"username": auth.username, "password": auth.password})
    ).decode()


def _raise_refusal(line: bytes) -> None:
    if b'"error"' not in line:
        return
    try:
        answer = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return
    if isinstance(answer, dict) and answer.get("error"):
        raise ApiError(500, str((answer.get("errorDetail") or {}).get("message") or answer["error"]))
