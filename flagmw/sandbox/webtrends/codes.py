"""Messages of Webtrends' error codes; `{}` stands for the value concerned."""

from __future__ import annotations

_MESSAGES = {
    0: "Unknown",
    100: "Unknown Site Exception",
    101: "No Sites registered for account {}",
    102: "Unable to decrypt control, invalid request for domain {}",
    103: "Unable to find environment object for url: {}",
    104: "Key token of environment not equal to key token of control ( {} )",
    105: "No keyToken found for use in encrypting response. Domain {}",
    200: "Unknown Request Exceptions",
    201: "Invalid conversion request, no guid, alias or page found.",
    202: "Invalid request type: {}",
    207: "Execution block by untrusted account {}",
    300: "Unknown Response Exceptions",
    301: "Cannot return control response without guid or alias.",
    302: "No test was found that matched any segments for guid {}",
    303: "No test found for guid {}",
    304: "Invalid test found",
    305: "Invalid experiment id, aborting test",
    310: "Conversion group does not match current test group set [guid: {}], will not convert for this test guid.",
    311: "Current path does not contain [guid: {}], will not convert for this test guid",
    312: "Conversion cookie already exists, cannot convert again for guid {}",
    313: "No project alias supplied with track request, tracking aborted.",
    314: "No control cookie found for conversion on guid: {}",
    315: "Test with guid {}, is not a valid test any more.",
    316: "General tracking error.",
    317: "No track made, 1st party control cookie[{}] is defined as view only.",
    318: "No track made, test [{}] is paused.",
    400: "Unknown Cookie Exceptions",
    417: "Throttled out OTS request for guid: {}",
    418: "User has been previously throttled out, no conversion for guid: {} can occur",
    500: "Unknown Page Exception",
    501: "No page found for url: {}",
    502: "No test found for current page: {}",
    602: "No GUID supplied for test",
    603: "Invalid GUID for control call. Must be in format <DOMAINID>-<ALIAS>. {} supplied instead.",
    604: "Invalid domainID supplied ({}). Must be an integer.",
    901: "Local geo DB not available",
}

# HTTP statuses for accounts with `http_errors`; every other code is a 400.
_STATUSES = {101: 404, 102: 403, 104: 403, 105: 403, 207: 403, 303: 404, 501: 404}


def message(code: int, about: str = "") -> str:
    """Return the message of *code*; a plain one for codes that the sandbox never makes by itself."""
    return _MESSAGES.get(code, "Error {}").format(about if code in _MESSAGES else code)


def http_status(code: int) -> int:
    """Return the HTTP status that goes with *code* where errors are not answered with 200."""
    return _STATUSES.get(code, 400)
