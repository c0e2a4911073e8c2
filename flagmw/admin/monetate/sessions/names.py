"""Names of the ids in Session Stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from flagmw.admin.errors import InvalidError

FORMAT = 1


@dataclass(slots=True)
class Names:
    """What ids stand for.

    Attributes:
        experiences: names by id.
        types: types of experiences by id.
        parts: by experience and by what may follow its id in an offer (a split's letter or id): the variant in words.
        page_events, targets: titles by id.
    """

    experiences: dict[int, str] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)
    parts: dict[int, dict[str, str]] = field(default_factory=dict)
    page_events: dict[int, str] = field(default_factory=dict)
    targets: dict[int, str] = field(default_factory=dict)

    def add_variants(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the rows of `variants.list`: several belong to one experience."""
        for row in rows:
            own = row.get("experience_id")
            if not isinstance(own, int):
                continue
            self.experiences[own] = str(row.get("experience_name") or "")
            self.types[own] = str(row.get("experience_type") or "")
            letter, words = row.get("split_name"), row.get("split_description")
            text = " ".join(str(one) for one in (letter, words) if one)
            parts = self.parts.setdefault(own, {})
            for part in (letter, row.get("id")):
                if part is not None and part != "":
                    parts[str(part).upper()] = text or str(part)

    def add_experiences(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the rows of `experiences.list`, with the letters and ids of their splits."""
        for row in rows:
            own = row.get("id")
            if not isinstance(own, int):
                continue
            self.experiences[own] = str(row.get("experience_name") or "")
            self.types[own] = str(row.get("experience_type") or "")
            parts = self.parts.setdefault(own, {})
            for split in row.get("variant_splits") or ():
                letter, label = str(split.get("variant") or ""), str(split.get("label") or "")
                text = f"{letter} {label}".strip() if label != letter else letter
                for part in (letter, split.get("id")):
                    if part not in (None, ""):
                        parts.setdefault(str(part).upper(), text)

    def add_page_events(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the rows of `page_events.list`."""
        self.page_events.update((row["id"], str(row.get("title") or "")) for row in rows if _has_id(row))

    def add_targets(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the rows of `custom_targets.list`."""
        self.targets.update((row["id"], str(row.get("title") or "")) for row in rows if _has_id(row))

    def variant(self, experience: int, part: str) -> str | None:
        """Return the variant that *part* of an offer means, by letter or id; None where neither matches."""
        return self.parts.get(experience, {}).get(part.upper())

    def save(self, path: str | Path) -> None:
        """Write the names to a file, for work without a connection."""
        document = {
            "flagmw_names": FORMAT,
            "experiences": {str(own): name for own, name in self.experiences.items()},
            "types": {str(own): name for own, name in self.types.items()},
            "parts": {str(own): parts for own, parts in self.parts.items()},
            "page_events": {str(own): name for own, name in self.page_events.items()},
            "targets": {str(own): name for own, name in self.targets.items()},
        }
        Path(path).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, path: str | Path) -> Names:
        """Read what `save` has written.

        Raises:
            InvalidError: the file cannot be read, or holds something else.
        """
        try:
            document = orjson.loads(Path(path).read_bytes())
            if document.get("flagmw_names") != FORMAT:
                raise ValueError("it has no names")
            kept = {
                name: {int(own): value for own, value in document.get(name, {}).items()}
                for name in ("experiences", "types", "parts", "page_events", "targets")
            }
        except OSError as error:
            raise InvalidError(f"{path} cannot be read: {error.strerror}", field="names") from None
        except (ValueError, AttributeError, TypeError):
            raise InvalidError(f"{path} holds no names; write it with --save-names", field="names") from None
        return cls(**kept)


def _has_id(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("id"), int)
