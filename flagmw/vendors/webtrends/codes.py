"""Error codes of Webtrends Optimize and the reactions to them.

Source: OTS REST API guide, "Error codes".
"""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """The four reactions.

    INFORMATIONAL: no variant for this alias and nothing wrong; its cookies still apply.
    COOKIES: the visitor's cookies are of no use; ask once more without them.
    CONFIGURATION: the account, token or url is wrong; asking again changes nothing.
    SERVER: a failure of the vendor; counts against its health.
    """

    INFORMATIONAL = "I"
    COOKIES = "C"
    CONFIGURATION = "K"
    SERVER = "S"


_KINDS: dict[int, Kind] = {
    **dict.fromkeys((302, 303, 308, 310, 311, 312, 314, 317, 318, 417, 418, 501, 502, 1005), Kind.INFORMATIONAL),
    **dict.fromkeys((102, 104, 300, 305, 309, 315), Kind.COOKIES),
    **dict.fromkeys(
        (101, 103, 105, *range(201, 208), 301, 306, 307, 313, 403, 601, 602, 603, 604, 701, *range(801, 807)),
        Kind.CONFIGURATION,
    ),
    **dict.fromkeys(range(1001, 1005), Kind.CONFIGURATION),
}

# These say that one project's control cookie is stale; the others say that none of the cookies can be read.
ONE_PROJECT = frozenset({305, 309, 315})
# The vendor refuses the account: pause for long.
UNTRUSTED = 207
# A gzip request may be answered with these by a server that does not take it.
GZIP_SUSPECTS = frozenset({200, 202, 300})

# On track: final for the alias, and no error.
NOT_IN_TEST = frozenset({302, 303, 310, 311, 314, 315, 317, 318, 418})
ALREADY_CONVERTED = 312
# On track: the account or token is refused, not the event.
REFUSES_ACCOUNT = frozenset({101, 103, 105, 207})
# On track: these cookies were made under another token. Either all were (a wrong key_token), or only this visitor's
# (from before a change of the token). Other visitors must not wait for that.
FOREIGN_COOKIES = frozenset({102, 104})
# On track: it was perhaps counted before it failed.
GENERAL_TRACKING_ERROR = 316


def kind_of(code: int, *, sent_cookies: bool = True) -> Kind:
    """Return how to react to *code*; an undocumented code is a failure of the server."""
    if code == 300 and not sent_cookies:
        return Kind.SERVER  # its documented cause is an undecryptable cookie, and there was none
    return _KINDS.get(code, Kind.SERVER)
