"""The page of Adobe Target's operations, written from the code.

    python -m tests.project.admin_reference

writes it anew. `test_admin.py` fails while the page differs from the code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagmw.admin import AdobeAdmin, GivenToken
from flagmw.admin.adobe.endpoints import ENDPOINTS, PROFILE_ENDPOINTS
from flagmw.admin.flow.listing import listing
from flagmw.admin.flow.operation import Resource, operation

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "adobe-target-admin.md"
HEAD = """# Adobe Target: every operation

Written by `python -m tests.project.admin_reference` from the code. `admin` is an `AdobeAdmin`; an `AsyncAdobeAdmin` has
the same methods, whose results are awaited (`async for` over lists). Each method has `.request(...)`, which takes the
same arguments and returns the request instead of sending it. How to use them:
[Manage Adobe Target](../managing-adobe-target.md).

"Documented" says where: **page** is Adobe's page "Admin and Profile APIs", with the number of the endpoint in it;
**spec** is Adobe's published OpenAPI description, **docs** its other documentation. Methods without an endpoint are
made of others. "Right" is the role that the caller needs.
"""
LONGEST = 100


def resources(resource: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield *resource* and those below it, with the names by which they are reached."""
    yield name, resource
    for key, member in vars(type(resource)).items():
        if isinstance(member, property):
            yield from resources(getattr(resource, key), f"{name}.{key}")


def all_resources() -> Iterator[tuple[str, Any]]:
    """Yield every resource of a client."""
    admin = AdobeAdmin("tenant", GivenToken("token"), api_key="key", client_code="client")
    for key, value in vars(admin).items():
        if isinstance(value, Resource):
            yield from resources(value, key)


def methods(resource: Any) -> Iterator[tuple[str, Any]]:
    """Yield the methods of a resource, as descriptors."""
    for key, member in vars(type(resource)).items():
        if isinstance(member, operation | listing):
            yield key, member


def signature(name: str, member: Any) -> str:
    """Return the method as a caller sees it, one parameter a line where it is long."""
    found = inspect.signature(member.function)
    parameters = [one for one in found.parameters.values() if one.name != "self"]
    bare = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty)).replace("'", "")
    answer = str(found.return_annotation)
    inner = answer[answer.index("[") + 1 : -1]
    text = f"{name}{bare} -> {f'Iterator[{inner}]' if isinstance(member, listing) else inner}"
    if len(text) <= LONGEST:
        return text
    lines = [f"    {str(one).replace(chr(39), '')},\n" for one in parameters]
    first = next((at for at, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY), None)
    if first is not None:
        lines.insert(first, "    *,\n")
    return f"{name}(\n{''.join(lines)}{text[text.rindex(') -> ') :]}"


def described(docstring: str | None) -> str:
    """Return a docstring as Markdown: arguments and errors become lists."""
    lines: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line in ("Args:", "Raises:", "Attributes:"):
            lines += [f"{line[:-1].replace('Args', 'Arguments')}:", ""]
        elif line.startswith("    ") and not line.startswith("     "):
            names, _, rest = line.strip().partition(": ")
            lines.append(f"- `{names}`: {rest}")
        else:
            lines.append(f"  {line.strip()}" if line.startswith("     ") else line)
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for name, resource in all_resources():
        parts.append(f"\n## admin.{name}\n\n{described(type(resource).__doc__)}")
        for key, member in methods(resource):
            parts.append(f"\n### {name}.{key}\n\n```text\n{signature(f'{name}.{key}', member)}\n```\n")
            endpoint = ENDPOINTS.get(f"{name}.{key}")
            if endpoint is not None:
                number = f" {endpoint.number}" if endpoint.number else ""
                version = f"v{endpoint.version}" if endpoint.version else "application/json"
                parts.append(
                    f"\n`{endpoint.method} /{{tenant}}/target{endpoint.path}` · version {version} · "
                    f"documented: {endpoint.evidence}{number} · right: {endpoint.right}\n"
                )
            profile = PROFILE_ENDPOINTS.get(f"{name}.{key}")
            if profile is not None:
                parts.append(f"\n`{', '.join(profile.methods)} {profile.path}` · documented: {profile.evidence}\n")
            parts.append(f"\n{described(member.__doc__)}")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.exit(0)
