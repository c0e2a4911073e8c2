"""`flagmw adobe` for what an account has: properties, mboxes, environments, response tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from flagmw.admin.adobe.client import AdobeAdmin
from flagmw.cli.admin.body import BodyArgument, object_from
from flagmw.cli.admin.command import LimitOption
from flagmw.cli.admin.session import Session
from flagmw.cli.adobe.root import FilterOption, IdArgument, SortOption, commands, filters

properties = commands.group("properties", "Properties, for which permissions are given.")
mboxes = commands.group("mboxes", "Mboxes that have been requested.")
response_tokens = commands.group("response-tokens", "What answers to visitors may say of activities and visitors.")


@properties.command("list", calls=["properties.list"], lists=True)
def list_properties(
    session: Session[AdobeAdmin], filter: FilterOption = None, sort_by: SortOption = None, limit: LimitOption = None
) -> None:
    """List properties."""
    options = {"sort_by": sort_by, "limit": limit, **filters({}, filter)}
    columns = ("id", "channel", "name", "description", "modifiedAt", "workspaces")
    session.rows(session.call(session.client.properties.list, **options), columns)


@properties.command("get", calls=["properties.get"])
def get_property(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Show a property."""
    session.show(session.call(session.client.properties.get, id))


@properties.command("create", calls=["properties.create"])
def create_property(session: Session[AdobeAdmin], file: BodyArgument) -> None:
    """Create a property from JSON: name, channel, workspaces."""
    session.show(session.call(session.client.properties.create, object_from(file)))


@properties.command("update", calls=["properties.update"])
def update_property(session: Session[AdobeAdmin], id: IdArgument, file: BodyArgument) -> None:
    """Replace a property by JSON."""
    session.show(session.call(session.client.properties.update, id, object_from(file)))


@properties.command("delete", calls=["properties.delete"], destroys=True)
def delete_property(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Delete a property."""
    session.confirm(f"delete property {id}")
    session.show(session.call(session.client.properties.delete, id))


@mboxes.command("list", calls=["mboxes.list"], lists=True)
def list_mboxes(
    session: Session[AdobeAdmin], filter: FilterOption = None, sort_by: SortOption = None, limit: LimitOption = None
) -> None:
    """List mboxes, by name."""
    options = {"sort_by": sort_by, "limit": limit, **filters({}, filter)}
    session.rows(session.call(session.client.mboxes.list, **options), ("name", "status", "lastRequestedAt"))


@mboxes.command("parameters", calls=["mboxes.parameters"], lists=True)
def mbox_parameters(
    session: Session[AdobeAdmin], name: Annotated[str, typer.Argument()], limit: LimitOption = None
) -> None:
    """List the parameters that have been sent with an mbox."""
    found = session.call(session.client.mboxes.parameters, name, limit=limit)
    session.rows(found.get("mboxParameters") or (), ("name", "parameterType"))


@commands.command("profile-attributes", calls=["profile_attributes.list"], lists=True)
def profile_attributes(session: Session[AdobeAdmin]) -> None:
    """List profile attributes that mboxes have sent, without "profile."."""
    names = session.call(session.client.profile_attributes.list)
    session.rows(({"name": name} for name in names), ("name",))


@commands.command("environments", calls=["environments.list"], lists=True)
def environments(
    session: Session[AdobeAdmin], filter: FilterOption = None, sort_by: SortOption = None, limit: LimitOption = None
) -> None:
    """List environments (host groups)."""
    options = {"sort_by": sort_by, "limit": limit, **filters({}, filter)}
    session.rows(session.call(session.client.environments.list, **options), ("id", "name"))


@response_tokens.command("list", calls=["response_tokens.list"], lists=True)
def list_response_tokens(session: Session[AdobeAdmin]) -> None:
    """List response tokens, switched on or not."""
    session.rows(session.call(session.client.response_tokens.list), ("id", "type", "token", "enabled"))


@response_tokens.command("create", calls=["response_tokens.create"])
def create_response_token(
    session: Session[AdobeAdmin],
    token: Annotated[str, typer.Argument(help="profile.memberLevel, say.")],
    type: Annotated[str, typer.Argument(help="BUILT_IN, ACTIVITY, GEO, CRS, MBOX or SCRIPT.")],
) -> None:
    """Switch a response token on."""
    session.show(session.call(session.client.response_tokens.create, token, type))


@response_tokens.command("delete", calls=["response_tokens.delete"], destroys=True)
def delete_response_token(session: Session[AdobeAdmin], id: IdArgument) -> None:
    """Switch a response token off."""
    session.confirm(f"delete response token {id}")
    session.show(session.call(session.client.response_tokens.delete, id))
