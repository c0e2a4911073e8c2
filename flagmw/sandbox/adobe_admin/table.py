"""The endpoints of the emulated Admin API."""

from __future__ import annotations

from flagmw.sandbox.adobe_admin import account, activities, batch, content, reports
from flagmw.sandbox.adobe_admin.call import ApiRoute, Handler


def _crud(number: int, name: str, kind: str, path: str, version: int, body: str) -> list[ApiRoute]:
    """Return reading, creating, updating and deleting of a kind of activity, numbered from *number* on."""
    one = f"{path}/{{id}}"
    at = (lambda step: number + step) if number else (lambda step: 0)
    return [
        ApiRoute(f"get{name}", "GET", one, (version,), activities.read(kind), at(0), body),
        ApiRoute(f"create{name}", "POST", path, (version,), activities.create(kind), at(1), body, body, creates=True),
        ApiRoute(f"update{name}", "PUT", one, (version,), activities.update(kind), at(2), body, body),
        ApiRoute(f"delete{name}", "DELETE", one, (version,), activities.delete(kind), at(3), body),
    ]


def _offers(number: int, name: str, type: str, body: str) -> list[ApiRoute]:
    path, one = f"/offers/{type}", f"/offers/{type}/{{id}}"
    at = (lambda step: number + step) if number else (lambda step: 0)
    make = content.create_offer(type)
    return [
        ApiRoute(f"get{name}", "GET", one, (2,), content.read_offer(type), at(0), body),
        ApiRoute(f"create{name}", "POST", path, (2,), make, at(1), body, body, creates=True),
        ApiRoute(f"update{name}", "PUT", one, (2,), content.update_offer(type), at(2), body, body),
        ApiRoute(f"delete{name}", "DELETE", one, (2,), content.delete_offer(type), at(3), body),
    ]


def _list(number: int, name: str, path: str, version: int, handler: Handler, row: str) -> ApiRoute:
    collection = name[0].lower() + name[1:]
    return ApiRoute(f"get{name}", "GET", path, (version,), handler, number, row, "", collection)


def _set(number: int, name: str, handler: Handler, body: str) -> ApiRoute:
    path = f"/activities/{{id}}/{name.lower()}"
    return ApiRoute(f"set{name}", "PUT", path, (1,), handler, number, body, body)


def _report(number: int, name: str, kind: str, what: str, handler: Handler, answer: str) -> ApiRoute:
    # The documentation reads reports with version 1, Adobe's own client with version 3.
    path = f"/activities/{kind}/{{id}}/report/{what}"
    return ApiRoute(name, "GET", path, (1, 3), handler, number, answer)


_rows: list[ApiRoute] = [
    _list(1, "Activities", "/activities", 3, activities.list_activities, "ActivityRow"),
    *_crud(2, "ABActivity", "ab", "/activities/ab", 3, "Activity"),
    *_crud(6, "XTActivity", "xt", "/activities/xt", 3, "Activity"),
    _set(10, "Name", activities.set_name, "ActivityName"),
    _set(11, "State", activities.set_state, "ActivityState"),
    _set(12, "Priority", activities.set_priority, "ActivityPriority"),
    _set(13, "Schedule", activities.set_schedule, "ActivitySchedule"),
    _list(14, "ActivityChangelogs", "/activities/{id}/changelog", 1, activities.changelog, "Change"),
    _list(15, "Offers", "/offers", 2, content.list_offers, "OfferRow"),
    *_offers(16, "ContentOffer", "content", "Offer"),
    _list(20, "Audiences", "/audiences", 3, content.list_audiences, "Audience"),
    ApiRoute("getAudience", "GET", "/audiences/{id}", (3,), content.read_audience, 21, "Audience"),
    ApiRoute(
        "createAudience", "POST", "/audiences", (3,), content.create_audience, 22, "Audience", "Audience", creates=True
    ),
    ApiRoute("updateAudience", "PUT", "/audiences/{id}", (3,), content.update_audience, 23, "Audience", "Audience"),
    ApiRoute("deleteAudience", "DELETE", "/audiences/{id}", (3,), content.delete_audience, 24, "Audience"),
    _list(25, "Properties", "/properties", 1, account.list_properties, "Property"),
    ApiRoute("getProperty", "GET", "/properties/{id}", (1,), account.read_property, 26, "Property"),
    _report(27, "getABPerformance", "ab", "performance", reports.performance("ab"), "PerformanceReport"),
    _report(28, "getXTPerformance", "xt", "performance", reports.performance("xt"), "PerformanceReport"),
    _report(29, "getAPPerformance", "abt", "performance", reports.performance("abt"), "PerformanceReport"),
    _report(30, "getABOrders", "ab", "orders", reports.orders("ab"), "OrdersReport"),
    _list(31, "Mboxes", "/mboxes", 1, account.list_mboxes, "Mbox"),
    ApiRoute("getMbox", "GET", "/mbox/{name}", (1,), account.mbox_parameters, 32, "MboxParameters"),
    ApiRoute(
        "getProfileAttributes",
        "GET",
        "/profileattributes/mbox",
        (1,),
        account.profile_attributes,
        33,
        "ProfileAttributes",
    ),
    _list(34, "Environments", "/environments", 1, account.list_environments, "Environment"),
    ApiRoute("executeBatch", "POST", "/batch", (1,), batch.run, 35, "BatchResults", "Batch"),
    ApiRoute(
        "createToken", "POST", "/authentication/token", (1,), account.create_token, 36, "AccessToken", creates=True
    ),
    ApiRoute("getToken", "GET", "/authentication/token", (1,), account.read_token, 0, "AccessToken"),
    _report(0, "getXTOrders", "xt", "orders", reports.orders("xt"), "OrdersReport"),
    _report(0, "getAPOrders", "abt", "orders", reports.orders("abt"), "OrdersReport"),
    *_crud(0, "AutoAllocateActivity", "auto_allocate", "/activities/autoallocate", 1, "Activity"),
    *_crud(0, "APActivity", "abt", "/activities/abt", 2, "Activity"),
    *_offers(0, "JsonOffer", "json", "JsonOffer"),
    ApiRoute("moveAudience", "PATCH", "/audiences/{id}", (3,), content.move_audience, 0, "Audience", "Audience"),
    ApiRoute(
        "createProperty", "POST", "/properties", (1,), account.create_property, 0, "Property", "Property", creates=True
    ),
    ApiRoute("updateProperty", "PUT", "/properties/{id}", (1,), account.update_property, 0, "Property", "Property"),
    ApiRoute("deleteProperty", "DELETE", "/properties/{id}", (1,), account.delete_property, 0, "Property"),
    ApiRoute("getResponseTokens", "GET", "/responsetokens", (1,), account.list_response_tokens, 0, "ResponseTokens"),
    ApiRoute(
        "createResponseToken",
        "POST",
        "/responsetokens",
        (1,),
        account.create_response_token,
        0,
        "ResponseToken",
        "ResponseToken",
        creates=True,
    ),
    ApiRoute(
        "deleteResponseToken", "DELETE", "/responsetokens/{id}", (1,), account.delete_response_token, 0, "ResponseToken"
    ),
    *(
        ApiRoute(
            f"create{name}QALinks",
            "POST",
            f"/activities/{path}/{{id}}/qamode",
            (version,),
            activities.qa_links(kind),
            0,
            "QALinks",
            "QARequest",
        )
        for name, path, kind, version in (
            ("AB", "ab", "ab", 3),
            ("XT", "xt", "xt", 3),
            ("AutoAllocate", "autoallocate", "auto_allocate", 1),
            ("AP", "abt", "abt", 2),
        )
    ),
]

ENDPOINTS: tuple[ApiRoute, ...] = tuple(_rows)
"""All of them; those of the documentation page first and in its order."""
