"""Routes that the vendor's exporter and importer asks beside the published ones.

They are no part of the published description. Paths and fields are those that npm `@contentstack/cli-variants` 1.4.1
sends and reads; what it does not read is a default of the sandbox.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from flagmw.sandbox.contentstack.model import Project
from flagmw.sandbox.contentstack_admin.call import AdminCall
from flagmw.sandbox.contentstack_admin.errors import invalid, missing
from flagmw.sandbox.contentstack_admin.serving import store_of
from flagmw.sandbox.contentstack_admin.store import Document, ProjectStore, cms_uid, stamp

STACK = "sandbox-stack"


def list_projects(call: AdminCall) -> list[Document]:
    """List projects, or those of one stack."""
    stack = call.query.get("connectedStackApiKey")
    return [one for one in _projects(call) if stack is None or one["connectedStackApiKey"] == stack]


def create_project(call: AdminCall) -> Document:
    """Create a project without anything in it."""
    name = call.text("name")
    _free_name(call, name, None)
    projects = call.sandbox.scenario.contentstack
    uid = hashlib.sha256(f"project {len(projects)} {name}".encode()).hexdigest()[:24]
    made = Project(project_uid=uid)
    call.sandbox.replace(replace(call.sandbox.scenario, contentstack=(*projects, made)))
    return _described(call, made, name=name, **_given(call))


def update_project(call: AdminCall) -> Document:
    """Change the name, the description or the stack of a project."""
    project = call.sandbox.scenario.project(call.values["uid"])
    if project is None:
        raise missing("PROJECTS")
    name = call.text("name")
    _free_name(call, name, project.project_uid)
    return _described(call, project, name=name, **_given(call))


def get_variant_group(call: AdminCall) -> Document:
    """Show the variant group that an experience has in the CMS."""
    return _group(call.store, call.experience())


def set_variant_group(call: AdminCall) -> Document:
    """Link content types to an experience."""
    experience = call.experience()
    _link(call, call.store, experience)
    return _group(call.store, experience)


def list_variant_groups(call: AdminCall) -> Document:
    """List the CMS's variant groups of one experience."""
    wanted = call.query.get("experience_uid")
    stores = [store_of(call.sandbox, project) for project in call.sandbox.scenario.contentstack]
    found = [(store, one) for store in stores for one in store.experiences.values() if wanted in (None, one["uid"])]
    return {"variant_groups": [_group(store, one) for store, one in found]}


def update_variant_group(call: AdminCall) -> Document:
    """Link content types to the experience of a variant group."""
    for project in call.sandbox.scenario.contentstack:
        store = store_of(call.sandbox, project)
        for experience in store.experiences.values():
            if cms_uid(experience["uid"]) == call.values["uid"]:
                _link(call, store, experience)
                return {"variant_group": _group(store, experience)}
    raise missing("VARIANT_GROUPS")


def _projects(call: AdminCall) -> list[Document]:
    return [_described(call, project) for project in call.sandbox.scenario.contentstack]


def _described(call: AdminCall, project: Project, **fields: str) -> Document:
    kept = call.sandbox.personalize.projects
    uid, at = project.project_uid, stamp(call.now)
    found = kept.get(uid)
    if found is None:
        new = {"uid": uid, "name": f"Project {uid}", "description": "", "connectedStackApiKey": STACK}
        found = kept[uid] = {**new, "createdAt": at, "updatedAt": at}
    if fields:
        found.update(fields, updatedAt=at)
    return found


def _given(call: AdminCall) -> dict[str, str]:
    names = [name for name in ("description", "connectedStackApiKey") if call.body.get(name) is not None]
    return {name: call.text(name, optional=True) for name in names}


def _free_name(call: AdminCall, name: str, own: str | None) -> None:
    if any(one["name"] == name and one["uid"] != own for one in _projects(call)):
        raise invalid("name", "personalize.PROJECTS.DUPLICATE_NAME", "a project has this name already")


def _link(call: AdminCall, store: ProjectStore, experience: Document) -> None:
    types = call.body.get("content_types")
    if not isinstance(types, list) or not all(isinstance(one, dict) for one in types):
        raise invalid("content_types", "CONTENT_TYPES_NOT_ARRAY", "content_types must be an array of objects")
    store.content_types[experience["uid"]] = types


def _group(store: ProjectStore, experience: Document) -> Document:
    uid = experience["uid"]
    return {
        "uid": cms_uid(uid),
        "name": experience["name"],
        "experience_uid": uid,
        "content_types": store.content_types.get(uid, []),
    }
