"""Projects as the decision side serves them: the scenario's, with what the management side made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flagmw.sandbox.contentstack.model import Experience, ModelAudience, ModelVariant, Project, State
from flagmw.sandbox.contentstack_admin.definitions import definition_of, rules_of
from flagmw.sandbox.contentstack_admin.store import Document, ProjectStore

if TYPE_CHECKING:
    from flagmw.sandbox.state import Sandbox

LIVE = ("ACTIVE", "PAUSED")


def served(sandbox: Sandbox, uid: str) -> Project | None:
    """Return the project of this uid as it is now; None when there is none."""
    project = sandbox.scenario.project(uid)
    store = sandbox.personalize.stores.get(uid)
    if project is None or store is None or store.revision == 0 or store.seeded_from != project:
        return project
    found = sandbox.personalize.served.get(uid)
    if found is not None and found[0] == store.revision and found[1] is store.seeded_from:
        return found[2]
    made = _project(store)
    sandbox.personalize.served[uid] = (store.revision, store.seeded_from, made)
    return made


def store_of(sandbox: Sandbox, project: Project) -> ProjectStore:
    """Return the management side of *project*, made anew when the scenario holds something else."""
    stores = sandbox.personalize.stores
    store = stores.get(project.project_uid)
    if store is None or store.seeded_from != project:
        store = stores[project.project_uid] = _seeded(project, sandbox.clock())
    return store


def live_version(store: ProjectStore, experience: str) -> Document | None:
    """Return the version that is active or paused."""
    return next((one for one in store.versions[experience] if one["status"] in LIVE), None)


def _seeded(project: Project, now: float) -> ProjectStore:
    store = ProjectStore(project.project_uid, project)
    for key in project.attributes:
        made = store.new(now, name=key, key=key, description="", __type="CUSTOM")
        store.attributes[made["uid"]] = made
    for key in project.events:
        made = store.new(now, key=key, description="")
        store.events[made["uid"]] = made
    keys = {one["key"]: uid for uid, one in store.attributes.items()}
    names: dict[str, str] = {}
    for audience in project.audiences:
        made = store.new(now, name=audience.name, description="", definition=definition_of(audience, keys))
        store.audiences[made["uid"]] = made
        names[audience.name] = made["uid"]
    events = {one["key"]: uid for uid, one in store.events.items()}
    for experience in project.experiences:
        _add_experience(store, experience, names, events, now)
    return store


def _add_experience(
    store: ProjectStore, experience: Experience, names: dict[str, str], events: dict[str, str], now: float
) -> None:
    name = experience.name or experience.short_uid
    made = store.new(
        now, name=name, description="", __type=experience.kind, shortUid=experience.short_uid, tags=[*experience.tags]
    )
    variants: list[Document] = []
    total = sum(one.traffic for one in experience.variants)
    for one in experience.variants:
        variant: Document = {"name": one.name or one.short_uid, "shortUid": one.short_uid}
        if experience.kind == "AB_TEST":
            variant |= {"__type": "ABTestVariant", "trafficDistribution": round(100 * one.traffic / total, 2)}
        else:
            audiences = [names[audience] for audience in one.audiences]
            variant |= {"__type": "SegmentedVariant", "audiences": audiences}
            variant |= {"audienceCombinationType": one.combination}
        variants.append(variant)
    shares = {one.traffic for one in experience.variants}
    body: Document = {"status": experience.state.upper(), "variants": variants}
    if experience.kind == "AB_TEST":
        body["variantSplit"] = "EQUALLY_SPLIT" if len(shares) == 1 else "CUSTOM"
        metrics = [
            {"__type": "Secondary" if number else "Primary", "event": events[key], "name": key}
            for number, key in enumerate(experience.metrics)
        ]
        body |= {"metrics": metrics} if metrics else {}
    if experience.targeting:
        audiences = [names[audience] for audience in experience.targeting]
        body["targeting"] = {"audience": {"audiences": audiences, "audienceCombinationType": experience.combination}}
    version = store.new(now, **body)
    if experience.state != "draft":
        store.activated[version["uid"]] = now
    store.dealt[version["uid"]] = experience.version
    made["latestVersion"] = version["uid"]
    store.experiences[made["uid"]] = made
    store.versions[made["uid"]] = [version]
    store.priority.append(made["uid"])


def _project(store: ProjectStore) -> Project:
    keys = {uid: one["key"] for uid, one in store.attributes.items()}
    audiences: dict[str, ModelAudience] = {
        uid: rules_of(one["definition"], keys, uid) for uid, one in store.audiences.items() if "definition" in one
    }
    experiences = []
    for uid in store.priority:
        version = live_version(store, uid)
        if version is not None:
            experiences.append(_experience(store, store.experiences[uid], version, audiences, keys))
    return Project(
        project_uid=store.uid,
        attributes=tuple(keys.values()),
        events=tuple(one["key"] for one in store.events.values()),
        audiences=tuple(audiences.values()),
        experiences=tuple(experiences),
    )


def _experience(
    store: ProjectStore,
    experience: Document,
    version: Document,
    audiences: dict[str, ModelAudience],
    keys: dict[str, str],
) -> Experience:
    def names(part: Any, own: str) -> tuple[str, ...]:
        """Return the names of a part's audiences; a definition of its own becomes an audience."""
        part = part if isinstance(part, dict) else {}
        if isinstance(part.get("target"), dict):
            audiences[own] = rules_of(part["target"], keys, own)
            return (own,)
        listed = [one for one in part.get("audiences") or () if one in audiences]
        if not listed and (part.get("audiences") or part.get("lyticsAudiences")):
            # An audience that is not there has no members.
            audiences[own] = ModelAudience(name=own)
            return (own,)
        return tuple(listed)

    variants = [
        ModelVariant(
            short_uid=one["shortUid"],
            name=one.get("name", ""),
            traffic=float(one.get("trafficDistribution", 1.0)),
            audiences=names(one, f"{version['uid']}/{one['shortUid']}"),
            combination=one.get("audienceCombinationType", "OR"),
        )
        for one in version["variants"]
    ]
    targeting = version.get("targeting") or {}
    inline = targeting if isinstance(targeting.get("target"), dict) else targeting.get("audience")
    events = {uid: one["key"] for uid, one in store.events.items()}
    return Experience(
        short_uid=experience["shortUid"],
        name=experience["name"],
        kind=experience["__type"],
        state=cast(State, version["status"].lower()),
        version=str(store.dealt.get(version["uid"], version["uid"])),
        variants=tuple(variants),
        targeting=names(inline, f"{version['uid']}/targeting"),
        combination=(inline or {}).get("audienceCombinationType", "AND"),
        metrics=tuple(events[one["event"]] for one in version.get("metrics") or () if one["event"] in events),
        tags=tuple(experience.get("tags") or ()),
    )
