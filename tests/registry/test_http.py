"""The distribution API over HTTP, without docker: uploads, ranges, mounts, manifests, errors in its JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import aiohttp
import pytest

from moorage.domain.ecr import image_key
from moorage.domain.scope import Scope
from moorage.registry.images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from moorage.store.tables.ecr import IMAGES, LAYERS

from .conftest import SCOPE, Served, basic

DATA = b"0123456789" * 1000


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def push_blob(served: Served, name: str, data: bytes) -> str:
    digest = digest_of(data)
    async with served.session.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, data=data) as answer:
        assert answer.status == 201, await answer.text()
        assert answer.headers["Docker-Content-Digest"] == digest
    return digest


async def push_image(served: Served, name: str, reference: str, data: bytes = DATA, **extra: Any) -> str:
    config = await push_blob(served, name, b"{}")
    layer = await push_blob(served, name, data)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/octet-stream", "digest": layer, "size": len(data)}],
            **extra,
        }
    ).encode()
    digest = digest_of(manifest)
    path = f"/v2/{name}/manifests/{reference or digest}"
    async with served.session.put(path, data=manifest, headers={"Content-Type": OCI_MANIFEST}) as answer:
        assert answer.status == 201, await answer.text()
        assert answer.headers["Docker-Content-Digest"] == digest
    return digest


async def refused(answer: aiohttp.ClientResponse) -> tuple[int, str, str]:
    error = (await answer.json(content_type=None))["errors"][0]
    return answer.status, error["code"], error["message"]


async def test_without_credentials_the_realm_is_named(served: Served) -> None:
    async with aiohttp.ClientSession() as anonymous, anonymous.get(f"{served.url}/v2/") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == (
            f'Basic realm="http://{served.registry.host}/",service="ecr.amazonaws.com"'
        )
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize(
    ("user", "password"),
    [("AWS", "nonsense"), ("AWS", "111122223333.eu-west-1.99999999999.abc"), ("AWS", "ü"), ("bob", "")],
)
async def test_wrong_credentials_are_unauthorized(served: Served, user: str, password: str) -> None:
    async with served.session.get("/v2/", headers={"Authorization": basic(user, password)}) as answer:
        assert (await refused(answer))[:2] == (401, "UNAUTHORIZED")


async def test_an_expired_token_is_denied(served: Served) -> None:
    served.clock.time += 12 * 3600
    async with served.session.get("/v2/") as answer:
        expected = "Your authorization token has expired. Reauthenticate and try again."
        assert await refused(answer) == (403, "DENIED", expected)


async def test_a_blob_uploaded_in_parts_is_served_whole_and_in_ranges(served: Served) -> None:
    await served.create("web")
    async with served.session.post("/v2/web/blobs/uploads/") as answer:
        assert answer.status == 202
        location = answer.headers["Location"]
    async with served.session.patch(location, data=DATA[:4000], headers={"Content-Range": "0-3999"}) as answer:
        assert (answer.status, answer.headers["Range"]) == (202, "0-3999")
    async with served.session.patch(location, data=b"x", headers={"Content-Range": "17-17"}) as answer:
        assert (await refused(answer))[:2] == (416, "BLOB_UPLOAD_INVALID")
    async with served.session.get(location) as answer:
        assert (answer.status, answer.headers["Range"]) == (204, "0-3999")
    async with served.session.put(location, params={"digest": digest_of(DATA)}, data=DATA[4000:]) as answer:
        assert answer.status == 201
        blob = answer.headers["Location"]
    async with served.session.head(blob) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(DATA)))
    async with served.session.get(blob) as answer:
        assert await answer.read() == DATA
    async with served.session.get(blob, headers={"Range": "bytes=10-19"}) as answer:
        assert (answer.status, await answer.read()) == (206, DATA[10:20])


async def test_an_upload_survives_a_restart_of_the_registry(served: Served) -> None:
    await served.create("web")
    async with served.session.post("/v2/web/blobs/uploads/") as answer:
        location = answer.headers["Location"]
    async with served.session.patch(location, data=DATA[:5000]) as answer:
        assert answer.status == 202
    served.registry.blobs._open.clear()  # what a process forgets when it dies
    async with served.session.put(location, params={"digest": digest_of(DATA)}, data=DATA[5000:]) as answer:
        assert answer.status == 201


async def test_content_with_another_digest_is_refused_and_not_kept(served: Served) -> None:
    repository = await served.create("web")
    async with served.session.post(
        "/v2/web/blobs/uploads/", params={"digest": digest_of(b"other")}, data=DATA
    ) as answer:
        assert (await refused(answer))[:2] == (400, "DIGEST_INVALID")
    assert served.registry.blobs.size(digest_of(b"other")) is None
    assert served.store.find(LAYERS, "repository", repository.arn) == ()


async def test_a_blob_is_visible_only_where_it_was_pushed_or_mounted(served: Served) -> None:
    await served.create("source")
    await served.create("target")
    digest = await push_blob(served, "source", DATA)
    async with served.session.head(f"/v2/target/blobs/{digest}") as answer:
        assert answer.status == 404
    mount = {"mount": digest, "from": "source"}
    async with served.session.post("/v2/target/blobs/uploads/", params=mount) as answer:
        assert answer.status == 201
    async with served.session.get(f"/v2/target/blobs/{digest}") as answer:
        assert await answer.read() == DATA
    async with served.session.post("/v2/target/blobs/uploads/", params={**mount, "from": "nowhere"}) as answer:
        assert answer.status == 202  # an upload instead


async def test_manifests_by_tag_and_digest(served: Served) -> None:
    await served.create("web")
    digest = await push_image(served, "web", "v1")
    for reference in ("v1", digest):
        async with served.session.get(f"/v2/web/manifests/{reference}") as answer:
            assert answer.headers["Docker-Content-Digest"] == digest
            assert answer.headers["Content-Type"] == OCI_MANIFEST
            assert digest_of(await answer.read()) == digest
        async with served.session.head(f"/v2/web/manifests/{reference}") as answer:
            assert answer.status == 200
            assert int(answer.headers["Content-Length"]) > 100
    async with served.session.get("/v2/web/manifests/v2") as answer:
        assert await refused(answer) == (404, "MANIFEST_UNKNOWN", "Requested image not found")


async def test_a_manifest_whose_layers_are_missing_is_refused(served: Served) -> None:
    await served.create("web")
    absent = digest_of(b"absent")
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"digest": absent, "size": 6},
        "layers": [],
    }
    async with served.session.put("/v2/web/manifests/v1", json=manifest) as answer:
        status, code, message = await refused(answer)
        assert (status, code) == (400, "MANIFEST_BLOB_UNKNOWN")
        assert absent in message


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"schemaVersion": 1}', b'{"schemaVersion": 2, "layers": 3}', b"\xff"]
)
async def test_what_is_no_manifest_is_refused(served: Served, body: bytes) -> None:
    await served.create("web")
    async with served.session.put("/v2/web/manifests/v1", data=body, headers={"Content-Type": OCI_MANIFEST}) as answer:
        assert (await refused(answer))[:2] == (400, "MANIFEST_INVALID")


async def test_an_index_needs_its_members_and_is_as_large_as_the_largest(served: Served) -> None:
    repository = await served.create("web")
    member = await push_image(served, "web", "")
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": member, "size": 400}],
    }
    data = json.dumps(index).encode()
    async with served.session.put("/v2/web/manifests/v1", data=data, headers={"Content-Type": OCI_INDEX}) as answer:
        assert answer.status == 201
    image = served.store.get(IMAGES, image_key(repository.arn, digest_of(data)))
    assert image is not None
    assert image.size == len(DATA) + 2
    index["manifests"] = [{"mediaType": OCI_MANIFEST, "digest": digest_of(b"?"), "size": 400}]
    async with served.session.put("/v2/web/manifests/v2", json=index, headers={"Content-Type": OCI_INDEX}) as answer:
        assert (await refused(answer))[:2] == (400, "MANIFEST_UNKNOWN")


async def test_referrers_of_an_image(served: Served) -> None:
    await served.create("web")
    subject = await push_image(served, "web", "v1")
    descriptor = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 400}
    signature = await push_image(served, "web", "", b"signature", subject=descriptor, artifactType="example/signature")
    async with served.session.get(f"/v2/web/referrers/{subject}") as answer:
        body = await answer.json(content_type=None)
        assert [entry["digest"] for entry in body["manifests"]] == [signature]
        assert body["manifests"][0]["artifactType"] == "example/signature"


async def test_tags_are_listed_in_pages(served: Served) -> None:
    await served.create("web")
    for tag in ("c", "a", "b"):
        await push_image(served, "web", tag)
    async with served.session.get("/v2/web/tags/list") as answer:
        assert await answer.json() == {"name": "web", "tags": ["a", "b", "c"]}
    async with served.session.get("/v2/web/tags/list?n=2") as answer:
        assert (await answer.json())["tags"] == ["a", "b"]
        assert answer.headers["Link"] == '</v2/web/tags/list?n=2&last=b>; rel="next"'
    async with served.session.get("/v2/web/tags/list?n=2&last=b") as answer:
        assert (await answer.json())["tags"] == ["c"]
        assert "Link" not in answer.headers


async def test_unknown_repository_in_the_callers_account(served: Served) -> None:
    await served.create("web", Scope("999999999999", "eu-west-1"))
    async with served.session.get("/v2/web/tags/list") as answer:
        assert await refused(answer) == (
            404,
            "NAME_UNKNOWN",
            "The repository with name 'web' does not exist in the registry with id '111122223333'",
        )


async def test_the_host_decides_the_registry_and_its_policy_who_gets_in(served: Served) -> None:
    other = Scope("999999999999", "us-east-1")
    closed = await served.create("closed", other)
    policy = {
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": SCOPE.account}, "Action": ["ecr:BatchGet*"]}],
    }
    await served.create("open", other, policy_text=json.dumps(policy))
    host = {"Host": f"999999999999.dkr.ecr.us-east-1.localhost:{served.registry.port}"}
    async with served.session.get("/v2/open/tags/list", headers=host) as answer:
        assert answer.status == 200
    async with served.session.get("/v2/closed/tags/list", headers=host) as answer:
        assert (await refused(answer))[:2] == (403, "DENIED")
    await served.create("inbox", other, policy_text=json.dumps(policy).replace("ecr:BatchGet*", "ecr:PutImage"))
    blob = served.registry.blobs
    upload = await blob.start_upload("x")
    await blob.finish("x", upload, digest_of(b""))
    await served.registry.add_layer(closed.arn, digest_of(b""), 0)
    mount = {"mount": digest_of(b""), "from": "closed"}
    async with served.session.post("/v2/inbox/blobs/uploads/", params=mount, headers=host) as answer:
        assert answer.status == 202  # not mounted: the caller may not read `closed`
    async with served.session.post("/v2/open/blobs/uploads/", headers=host) as answer:
        assert (await refused(answer))[:2] == (403, "DENIED")


async def test_what_ecr_does_not_offer_is_refused_clearly(served: Served) -> None:
    await served.create("web")
    async with served.session.delete("/v2/web/manifests/v1") as answer:
        assert (await refused(answer))[:2] == (405, "UNSUPPORTED")
    async with served.session.get("/v2/_catalog") as answer:
        assert (await refused(answer))[:2] == (404, "UNSUPPORTED")


async def test_the_sweep_removes_what_nothing_needs_and_only_that(served: Served) -> None:
    await served.create("web")
    await push_image(served, "web", "v1")
    orphan = await push_blob(served, "web", b"orphan")
    assert await served.registry.sweep(grace=3600) == 0  # it may belong to a push under way
    served.clock.time += 7200
    kept = await push_blob(served, "web", b"just pushed")
    assert await served.registry.sweep(grace=3600) == 1
    sizes = {data: served.registry.blobs.size(digest_of(data)) for data in (DATA, b"{}")}
    assert sizes == {DATA: len(DATA), b"{}": 2}
    assert served.registry.blobs.size(orphan) is None
    assert served.registry.blobs.size(kept) is not None


async def test_a_layer_that_a_push_has_just_found_outlives_the_sweep(served: Served) -> None:
    await served.create("web")
    digest = await push_blob(served, "web", b"wanted again")
    served.clock.time += 7200
    async with served.session.head(f"/v2/web/blobs/{digest}") as answer:
        assert answer.status == 200
    assert await served.registry.sweep(grace=3600) == 0


async def test_a_full_disk_is_said_and_nothing_is_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.create("web")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("moorage.registry.blobs.Upload.write", no_space)
    async with served.session.post("/v2/web/blobs/uploads/", params={"digest": digest_of(DATA)}, data=DATA) as answer:
        assert await refused(answer) == (500, "UNKNOWN", "The registry's disk refused: No space left on device")
