"""State of Monetate's emulated management APIs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from flagmw.sandbox.monetate_admin.dates import stamp
from flagmw.sandbox.monetate_admin.settings import FieldSetting

if TYPE_CHECKING:
    from flagmw.sandbox.monetate.model import Retailer

Document = dict[str, Any]


@dataclass(slots=True)
class Dataset:
    """A dataset and its rows.

    Attributes:
        rows: by unique key where there is one, else by number.
        uploads: files that came by other ways than the API, newest first.
    """

    id: int
    name: str
    type: str
    fields: dict[str, FieldSetting]
    named_identifier: str | None
    created: str
    rows: dict[str | int, Document] = field(default_factory=dict)
    uploads: list[Document] = field(default_factory=list)

    def marked(self, mark: str) -> str | None:
        """Return the name of the field that is "identifier", "unique_key" or "event_time"."""
        return next((name for name, one in self.fields.items() if getattr(one, mark)), None)

    def put(self, row: Document) -> None:
        """Add a row, or replace the one with the same unique key; absent fields become null."""
        key = self.marked("unique_key")
        place = row[key] if key is not None else len(self.rows)
        self.rows[place] = {name: row.get(name) for name in self.fields}

    def find(self, own: str) -> Document | None:
        """Return the row of a unique key, else of an identifier."""
        name = self.marked("unique_key") or self.marked("identifier")
        return next((row for row in reversed(self.rows.values()) if name is not None and row.get(name) == own), None)

    def document(self) -> Document:
        """Return the description of the dataset, as answers have it."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "fields": described(self.fields),
            "named_identifier": self.named_identifier,
            "created_date": self.created,
        }


@dataclass(slots=True)
class RetailerStore:
    """What the management APIs have made of a retailer."""

    datasets: dict[str, Dataset] = field(default_factory=dict)
    catalogs: dict[str, str] = field(default_factory=dict)


class ManagementState:
    """Tokens, datasets and counted checks of all retailers."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.tokens: dict[str, tuple[str, str, float]] = {}
        self.stores: dict[str, RetailerStore] = {}
        self.checks: dict[str, list[float]] = {}

    def store_of(self, retailer: Retailer, now: float) -> RetailerStore:
        """Return what there is of *retailer*, made from its settings at first."""
        store = self.stores.get(retailer.retailer)
        if store is None:
            store = self.stores[retailer.retailer] = RetailerStore()
            for one in retailer.admin.datasets:
                store.datasets[one.name] = Dataset(
                    one.id, one.name, one.type, dict(one.fields), one.named_identifier, stamp(now)
                )
        return store


def described(fields: dict[str, FieldSetting]) -> Document:
    """Return fields as answers have them: the data type, and what is set."""
    return {
        name: {key: value for key, value in asdict(one).items() if key == "data_type" or value}
        for name, one in fields.items()
    }
