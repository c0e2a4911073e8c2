"""The endpoints of Monetate's emulated management APIs."""

from __future__ import annotations

from flagmw.sandbox.monetate_admin import data, metadata
from flagmw.sandbox.monetate_admin.call import Endpoint

ROOTS = {
    "metadata": "/api/metadata/v1/{retailer}/production/metadata/",
    "data": "/api/data/v1/{retailer}/production/",
}


def _metadata(name: str, path: str, rows: metadata.Rows, *filters: str) -> list[Endpoint]:
    """Return the list and the single object of a kind."""
    return [
        Endpoint(f"list{name}s", "GET", "metadata", f"{path}/", metadata.listed(rows), name, "", True, filters),
        Endpoint(f"get{name}", "GET", "metadata", f"{path}/{{id}}/", metadata.one(rows), name),
    ]


_FLAGS = ("row_count", "latest_upload")

ENDPOINTS: tuple[Endpoint, ...] = (
    *_metadata("PageEvent", "pageevent", metadata.page_events),
    *_metadata("Variant", "variant", metadata.variants, "name"),
    *_metadata("CustomTarget", "customtarget", metadata.custom_targets),
    *_metadata("Experience", "experience-summary", metadata.experiences, "name"),
    *_metadata("Account", "account", metadata.accounts),
    Endpoint("upsertRows", "POST", "data", "data/{schema}/", data.upsert, "Rows", "Rows"),
    Endpoint("checkRow", "GET", "data", "data/{schema}/", data.check, "Rows", filters=("id",)),
    Endpoint(
        "listSchemas", "GET", "data", "schema/", data.list_schemas, "Schema", "", True, (*_FLAGS, "usable_in_accounts")
    ),
    Endpoint("getSchema", "GET", "data", "schema/{schema}/", data.get_schema, "Schema", filters=_FLAGS),
    Endpoint("createSchema", "POST", "data", "schema/", data.create_schema, "Schema", "Schema"),
    Endpoint("changeSchema", "PATCH", "data", "schema/{schema}/", data.change_schema, "SchemaChange", "SchemaChange"),
    Endpoint("listSchemaTypes", "GET", "data", "schematype/", data.list_types, "SchemaType", "", True),
    Endpoint("getSchemaType", "GET", "data", "schematype/{name}/", data.get_type, "SchemaType"),
    Endpoint("listUploads", "GET", "data", "upload/{schema}/", data.list_uploads, "FileUpload", "", True),
    Endpoint("listDefaultCatalogs", "GET", "data", "defaultcatalog/", data.list_catalogs, "DefaultCatalog", "", True),
    Endpoint(
        "setDefaultCatalog", "POST", "data", "defaultcatalog/", data.set_catalog, "DefaultCatalog", "DefaultCatalog"
    ),
)
