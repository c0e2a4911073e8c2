"""`flagmw monetate experiences`, `variants`, `page-events`, `custom-targets` and `accounts`."""

from __future__ import annotations

from flagmw.admin.monetate.client import MonetateAdmin
from flagmw.cli.admin.command import LimitOption
from flagmw.cli.admin.session import Session
from flagmw.cli.monetate.root import IdArgument, NameOption, PageSizeOption, commands

experiences = commands.group("experiences", "Experiences with goals and splits.")
variants = commands.group("variants", "Variants of experiences; their ids are those of splits.")
page_events = commands.group("page-events", "Page events.")
custom_targets = commands.group("custom-targets", "Custom targets.")
accounts = commands.group("accounts", "Accounts of the retailer.")


@experiences.command("list", calls=["experiences.list"], lists=True)
def list_experiences(
    session: Session[MonetateAdmin],
    name: NameOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 1000,
) -> None:
    """List experiences."""
    rows = session.call(session.client.experiences.list, name=name, limit=limit, page_size=page_size)
    session.rows(rows, ("id", "status", "experience_type", "experience_name", "integration_type", "account_domain"))


@experiences.command("get", calls=["experiences.get"])
def get_experience(session: Session[MonetateAdmin], id: IdArgument) -> None:
    """Show an experience."""
    session.show(session.call(session.client.experiences.get, id))


@experiences.command("splits", calls=["experiences.readable"], lists=True)
def splits_of_experience(session: Session[MonetateAdmin], id: IdArgument) -> None:
    """List the splits of an experience in words: letter, ratio, label, goal metric."""
    rows = session.call(session.client.experiences.readable, id)
    session.rows(rows, ("split_letter", "split", "label", "split_id", "experience_name", "goal_metric"))


@variants.command("list", calls=["variants.list"], lists=True)
def list_variants(
    session: Session[MonetateAdmin],
    name: NameOption = None,
    limit: LimitOption = None,
    page_size: PageSizeOption = 1000,
) -> None:
    """List variants of all experiences."""
    rows = session.call(session.client.variants.list, name=name, limit=limit, page_size=page_size)
    session.rows(rows, ("id", "experience_id", "experience_name", "split_name", "split_description"))


@variants.command("get", calls=["variants.get"])
def get_variant(session: Session[MonetateAdmin], id: IdArgument) -> None:
    """Show a variant."""
    session.show(session.call(session.client.variants.get, id))


@page_events.command("list", calls=["page_events.list"], lists=True)
def list_page_events(
    session: Session[MonetateAdmin], limit: LimitOption = None, page_size: PageSizeOption = 1000
) -> None:
    """List page events."""
    session.rows(session.call(session.client.page_events.list, limit=limit, page_size=page_size), ("id", "title"))


@page_events.command("get", calls=["page_events.get"])
def get_page_event(session: Session[MonetateAdmin], id: IdArgument) -> None:
    """Show a page event."""
    session.show(session.call(session.client.page_events.get, id))


@custom_targets.command("list", calls=["custom_targets.list"], lists=True)
def list_custom_targets(
    session: Session[MonetateAdmin], limit: LimitOption = None, page_size: PageSizeOption = 1000
) -> None:
    """List custom targets."""
    rows = session.call(session.client.custom_targets.list, limit=limit, page_size=page_size)
    session.rows(rows, ("id", "title", "description", "is_identifier", "collects_person_id"))


@custom_targets.command("get", calls=["custom_targets.get"])
def get_custom_target(session: Session[MonetateAdmin], id: IdArgument) -> None:
    """Show a custom target."""
    session.show(session.call(session.client.custom_targets.get, id))


@accounts.command("list", calls=["accounts.list"], lists=True)
def list_accounts(session: Session[MonetateAdmin], limit: LimitOption = None, page_size: PageSizeOption = 1000) -> None:
    """List accounts."""
    rows = session.call(session.client.accounts.list, limit=limit, page_size=page_size)
    session.rows(rows, ("id", "name", "type", "kind", "channel", "archived"))


@accounts.command("get", calls=["accounts.get"])
def get_account(session: Session[MonetateAdmin], id: IdArgument) -> None:
    """Show an account."""
    session.show(session.call(session.client.accounts.get, id))
