"""Operations on trust stores and their revocation lists (semantics elbv2 §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from moorage.domain.errors import AwsError
from moorage.domain.trust_store import Revocation, TrustStore
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import validate
from moorage.services.elbv2.common import ElbV2Base, the_trust_store
from moorage.services.elbv2.quotas import MAX_REVOCATION_ENTRIES, MAX_TRUST_STORES
from moorage.services.elbv2.validate import invalid, unsupported
from moorage.services.lookups import ObjectLookup
from moorage.store.api import Transaction
from moorage.store.tables.elbv2 import LISTENERS, TRUST_STORES


class Downloads(Protocol):
    """Where clients fetch contents from."""

    def offer(self, content: bytes) -> str:
        """An address that answers with `content` for ten minutes, and that nobody can guess."""
        ...


class TrustStores(ElbV2Base):
    objects: ObjectLookup | None = None
    downloads: Downloads | None = None

    @operation("CreateTrustStore")
    async def create_trust_store(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        name = validate.trust_store_name(params["Name"])
        tags = validate.tags(params.get("Tags"))
        bundle, count = await self._bundle(ctx, params)
        wanted = TrustStore(
            arn=ctx.scope.arn("elasticloadbalancing", f"truststore/{name}/{self.ids.hex(16)}"),
            account=ctx.account,
            region=ctx.region,
            name=name,
            bundle=bundle,
            certificates=count,
            created_at=self.clock.now(),
            tags=tags,
        )

        def change(tx: Transaction) -> TrustStore:
            known = tx.find(TRUST_STORES, "scope", (ctx.account, ctx.region))
            if any(store.name == name for store in known):
                raise AwsError("DuplicateTrustStoreName", f"A trust store with the name '{name}' already exists")
            if len(known) >= MAX_TRUST_STORES:
                raise AwsError("TooManyTrustStores", "The maximum number of trust stores has been reached")
            return tx.put(TRUST_STORES, wanted)

        return {"TrustStores": [_shown(await self.store.update(change))]}

    @operation("DescribeTrustStores")
    async def describe_trust_stores(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arns, names = params.get("TrustStoreArns"), params.get("Names")
        if arns and names:
            raise invalid("Trust store names and trust store ARNs cannot be specified at the same time")
        validate.at_most_named(len(arns or names or ()), "trust stores")
        if arns:
            found = [the_trust_store(self.store, ctx, arn) for arn in dict.fromkeys(arns)]
        else:
            found = list(self.store.find(TRUST_STORES, "scope", (ctx.account, ctx.region)))
            missing = set(names or ()) - {store.name for store in found}
            if missing:
                raise AwsError("TrustStoreNotFound", f"Trust stores '[{', '.join(sorted(missing))}]' not found")
            found = [store for store in found if not names or store.name in names]
        shown, more = validate.page(params, found, lambda store: store.arn)
        return {"TrustStores": [_shown(store) for store in shown], **more}

    @operation("ModifyTrustStore")
    async def modify_trust_store(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arn = the_trust_store(self.store, ctx, params["TrustStoreArn"]).arn
        bundle, count = await self._bundle(ctx, params)

        def change(tx: Transaction) -> TrustStore:
            record = the_trust_store(tx, ctx, arn)
            return tx.put(TRUST_STORES, msgspec.structs.replace(record, bundle=bundle, certificates=count))

        return {"TrustStores": [_shown(await self.store.update(change))]}

    @operation("DeleteTrustStore")
    async def delete_trust_store(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> None:
            record = the_trust_store(tx, ctx, params["TrustStoreArn"])
            if tx.find(LISTENERS, "trust_store", record.arn):
                raise AwsError(
                    "TrustStoreInUse", f"Trust store '{record.arn}' is currently in use by one or more listeners"
                )
            tx.delete(TRUST_STORES, record.arn)

        await self.store.update(change)
        return {}

    @operation("GetTrustStoreCaCertificatesBundle")
    async def get_trust_store_ca_certificates_bundle(
        self, ctx: RequestContext, params: dict[str, Any]
    ) -> Mapping[str, Any]:
        return {"Location": self._offer(the_trust_store(self.store, ctx, params["TrustStoreArn"]).bundle)}

    @operation("DescribeTrustStoreAssociations")
    async def describe_trust_store_associations(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        """The load balancers with a listener that uses the trust store."""
        record = the_trust_store(self.store, ctx, params["TrustStoreArn"])
        users = {listener.load_balancer_arn for listener in self.store.find(LISTENERS, "trust_store", record.arn)}
        shown, more = validate.page(params, users, lambda arn: arn)
        return {"TrustStoreAssociations": [{"ResourceArn": arn} for arn in shown], **more}

    @operation("DeleteSharedTrustStoreAssociation")
    async def delete_shared_trust_store_association(
        self, ctx: RequestContext, params: dict[str, Any]
    ) -> Mapping[str, Any]:
        """Nothing is shared between accounts here, so that whatever association there is, is the owner's own."""
        record = the_trust_store(self.store, ctx, params["TrustStoreArn"])
        users = {listener.load_balancer_arn for listener in self.store.find(LISTENERS, "trust_store", record.arn)}
        if params["ResourceArn"] not in users:
            raise AwsError("AssociationNotFound", "The specified association does not exist.")
        raise AwsError("DeleteAssociationSameAccount", "The specified association can't be within the same account.")

    @operation("GetResourcePolicy")
    async def get_resource_policy(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        """A trust store is shared by a resource policy; here none ever is."""
        arn = params["ResourceArn"]
        ours = validate.is_arn("trust store", arn) and validate.here(ctx.scope, arn)
        if not ours or self.store.get(TRUST_STORES, arn) is None:
            raise AwsError("ResourceNotFound", "The specified resource does not exist.")
        return {}

    # --- revocation lists ----------------------------------------------------------------------------------------------
    @operation("AddTrustStoreRevocations")
    async def add_trust_store_revocations(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arn = the_trust_store(self.store, ctx, params["TrustStoreArn"]).arn
        read = [await self._revocations(ctx, given) for given in params.get("RevocationContents") or ()]
        if not read:
            raise invalid("A revocation content must be specified")

        def change(tx: Transaction) -> tuple[Revocation, ...]:
            record = the_trust_store(tx, ctx, arn)
            added = tuple(
                Revocation(number, content, entries)
                for number, (content, entries) in enumerate(read, start=record.last_id + 1)
            )
            after = msgspec.structs.replace(
                record, revocations=(*record.revocations, *added), last_id=record.last_id + len(added)
            )
            if after.revoked > MAX_REVOCATION_ENTRIES:
                raise AwsError(
                    "TooManyTrustStoreRevocationEntries", "The specified trust store has too many revocation entries."
                )
            tx.put(TRUST_STORES, after)
            return added

        added = await self.store.update(change)
        return {"TrustStoreRevocations": [_revocation(arn, one) for one in added]}

    @operation("DescribeTrustStoreRevocations")
    async def describe_trust_store_revocations(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        record = the_trust_store(self.store, ctx, params["TrustStoreArn"])
        wanted = params.get("RevocationIds")
        found = [_the_revocation(record, one) for one in wanted] if wanted else list(record.revocations)
        shown, more = validate.page(params, found, lambda one: f"{one.id:020d}")
        return {"TrustStoreRevocations": [_revocation(record.arn, one) for one in shown], **more}

    @operation("RemoveTrustStoreRevocations")
    async def remove_trust_store_revocations(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> None:
            record = the_trust_store(tx, ctx, params["TrustStoreArn"])
            gone = {_the_revocation(record, one).id for one in params["RevocationIds"]}
            kept = tuple(one for one in record.revocations if one.id not in gone)
            tx.put(TRUST_STORES, msgspec.structs.replace(record, revocations=kept))

        await self.store.update(change)
        return {}

    @operation("GetTrustStoreRevocationContent")
    async def get_trust_store_revocation_content(
        self, ctx: RequestContext, params: dict[str, Any]
    ) -> Mapping[str, Any]:
        record = the_trust_store(self.store, ctx, params["TrustStoreArn"])
        return {"Location": self._offer(_the_revocation(record, params["RevocationId"]).content)}

    # --- contents ------------------------------------------------------------------------------------------------------
    async def _bundle(self, ctx: RequestContext, params: Mapping[str, Any]) -> tuple[bytes, int]:
        """The authorities' certificates in PEM, and how many."""
        bucket, key = params["CaCertificatesBundleS3Bucket"], params["CaCertificatesBundleS3Key"]
        content = await self._read(ctx, bucket, key, params.get("CaCertificatesBundleS3ObjectVersion"))
        if content is None:
            raise AwsError("CaCertificatesBundleNotFound", "The specified ca certificate bundle does not exist.")
        try:
            found = x509.load_pem_x509_certificates(content)
        except ValueError as error:
            raise AwsError(
                "InvalidCaCertificatesBundle",
                "The specified ca certificate bundle is in an invalid format, or corrupt.",
            ) from error
        return b"".join(one.public_bytes(Encoding.PEM) for one in found), len(found)

    async def _revocations(self, ctx: RequestContext, given: Mapping[str, Any]) -> tuple[bytes, int]:
        """A revocation list in PEM, and how many certificates it revokes."""
        bucket, key = given.get("S3Bucket"), given.get("S3Key")
        if not bucket or not key:
            raise invalid("An S3 bucket and an S3 key must be specified for every revocation content")
        content = await self._read(ctx, bucket, key, given.get("S3ObjectVersion"))
        if content is None:
            raise AwsError("RevocationContentNotFound", "The specified revocation file does not exist.")
        try:
            load = x509.load_pem_x509_crl if content.lstrip().startswith(b"-----") else x509.load_der_x509_crl
            found = load(content)
        except ValueError as error:
            raise AwsError(
                "InvalidRevocationContent",
                "The provided revocation file is an invalid format, or uses an incorrect algorithm.",
            ) from error
        return found.public_bytes(Encoding.PEM), len(found)

    async def _read(self, ctx: RequestContext, bucket: str, key: str, version: str | None) -> bytes | None:
        if self.objects is None:
            raise unsupported("There is no S3 here: trust stores are not supported")
        return await self.objects.read(ctx.scope, bucket, key, version)

    def _offer(self, content: bytes) -> str:
        if self.downloads is None:
            raise unsupported("Nothing can be downloaded here")
        return self.downloads.offer(content)


def _the_revocation(record: TrustStore, revocation_id: int) -> Revocation:
    found = next((one for one in record.revocations if one.id == revocation_id), None)
    if found is None:
        raise AwsError("RevocationIdNotFound", "The specified revocation ID does not exist.")
    return found


def _shown(record: TrustStore) -> dict[str, Any]:
    return {
        "Name": record.name,
        "TrustStoreArn": record.arn,
        "Status": "ACTIVE",
        "NumberOfCaCertificates": record.certificates,
        "TotalRevokedEntries": record.revoked,
    }


def _revocation(arn: str, one: Revocation) -> dict[str, Any]:
    return {
        "TrustStoreArn": arn,
        "RevocationId": one.id,
        "RevocationType": "CRL",
        "NumberOfRevokedEntries": one.entries,
    }
