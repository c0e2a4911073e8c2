"""The parser of the Cookie header and the writer of Set-Cookie."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagmw._cookies import header as cookie_header
from flagmw._cookies.header import (
    HEADER_MAX_BYTES,
    MAX_AGE_MAX_S,
    PAIRS_MAX,
    format_set_cookie,
    octets_ok,
    read,
    writable,
)
from flagmw._cookies.rule import CookieRule
from flagmw.codes import ErrorCode
from tests.unit.vendors.webtrends.codec import MODE, USER, control, webtrends

WT = webtrends().cookies
# Takes everything: what is refused under this rule is refused under any.
OPEN = CookieRule(prefixes=("",), reads=lambda n: True, writes=lambda n: True, value_ok=lambda v: True, max_bytes=10**6)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=";="), min_size=1, max_size=40)
OCTETS = st.text("!#$%&'()*+-./0123456789:<=>?@ABCXYZ[]^_`abcxyz{|}~", max_size=60)


def own(*headers: str, rule: CookieRule = WT) -> dict[str, str]:
    return read(headers, [rule]).own[0]


def line(name: str = "n", value: str = "v", **more: object) -> str:
    options = {"max_age_s": None, "domain": None, "secure": False, "http_only": False, **more}
    return format_set_cookie(name, value, **options)  # type: ignore[arg-type]


# Reading


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"{USER}=WT3a~", {USER: "WT3a~"}),
        (f"a=1; {USER}=WT3a~; b=2", {USER: "WT3a~"}),
        (f"{USER}=WT3a~;{MODE}=WT3m", {USER: "WT3a~", MODE: "WT3m"}),
        (f" \t{USER} = WT3a~ \t;", {USER: "WT3a~"}),
        (f"{USER}=a=b==", {USER: "a=b=="}),
        (f'{USER}="WT3a~"', {USER: '"WT3a~"'}),
        (f"{USER}=", {USER: ""}),
        (f"{control('ta_Project 1')}=WT3c; x=1", {control("ta_Project 1"): "WT3c"}),
        (f"{control('ta-b_c.d')}=WT3c", {control("ta-b_c.d"): "WT3c"}),
        ("", {}),
        (";;; ; ;", {}),
        ("=x; =; novalue", {}),
        (USER, {}),
        (f"x{USER}=1", {}),
        (f"{USER.upper()}=1", {}),
    ],
)
def test_reads_the_vendors_cookies(header: str, expected: dict[str, str]) -> None:
    """Names and values are taken verbatim, trimmed at their ends only."""
    assert own(header) == expected


@pytest.mark.parametrize(
    "name",
    ["_wt.user-24905930", "_wt.user-999", "_wt.control-999-ta_x", "_wt.control-2490593-", "_wt.conversion-2490593-ta"],
)
def test_I2_other_accounts_cookies(name: str) -> None:
    """A cookie of another account, or one that is none of ours to send, is left alone and counts as the site's."""
    found = read([f"{name}=WT3a~"], [WT])
    assert found.own == [{}]
    assert found.rejected == []
    assert found.site_bytes == len(name) + 6


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("a b", ErrorCode.COOKIE_VALUE),
        ("a,b", ErrorCode.COOKIE_VALUE),
        ("a\\b", ErrorCode.COOKIE_VALUE),
        ('a"b', ErrorCode.COOKIE_VALUE),
        ('"', ErrorCode.COOKIE_VALUE),
        ("a\x00b", ErrorCode.COOKIE_VALUE),
        ("a\rb", ErrorCode.COOKIE_VALUE),
        ("a\x7f", ErrorCode.COOKIE_VALUE),
        ("é", ErrorCode.COOKIE_VALUE),
        ("a" * 1025, ErrorCode.COOKIE_SIZE),
    ],
)
def test_I1_forged_values(value: str, code: ErrorCode) -> None:
    """A value that no vendor ever wrote is left out and counted; the other cookies stay."""
    found = read([f"{USER}={value}; {MODE}=ok"], [WT])
    assert found.own == [{MODE: "ok"}]
    assert found.rejected == [code]


def test_value_length_at_the_limit() -> None:
    """A value of exactly the allowed length passes."""
    assert own(f"{USER}={'a' * 1024}") == {USER: "a" * 1024}


def test_I4_duplicates_first_wins() -> None:
    """Of two cookies of one name the first counts, within a header and across headers, and the others are counted."""
    found = read([f"{USER}=one; {USER}=two", f"{USER}=three"], [WT])
    assert found.own == [{USER: "one"}]
    assert found.rejected == [ErrorCode.COOKIE_DUPLICATE] * 2


def test_I4_a_bad_first_does_not_hide_a_good_second() -> None:
    """A forged cookie in front does not take the place of the real one."""
    found = read([f"{USER}=a b; {USER}=two"], [WT])
    assert found.own == [{USER: "two"}]
    assert found.rejected == [ErrorCode.COOKIE_VALUE]


def test_several_headers() -> None:
    """HTTP/2 may split the header; all parts count."""
    assert own("a=1", f"{USER}=u", f"{MODE}=m; b=2") == {USER: "u", MODE: "m"}


def test_two_vendors_each_get_their_own() -> None:
    """Every rule gets its own cookies and nothing of the other's."""
    other = webtrends(domain_id=1).cookies
    found = read([f"{USER}=a; _wt.user-1=b; c=d"], [WT, other])
    assert found.own == [{USER: "a"}, {"_wt.user-1": "b"}]
    assert found.site_bytes <= len("; c=d") + 2


@pytest.mark.parametrize(("extra", "seen"), [(-1, True), (0, True), (1, False)])
def test_I5_header_limit(extra: int, seen: bool) -> None:
    """A cookie that ends within 16 KiB is read; one that reaches beyond is not, not even in part."""
    cookie = f"; {USER}=WT3abc~"
    header = "x=" + "y" * (HEADER_MAX_BYTES - 2 - len(cookie) + extra) + cookie
    assert len(header) == HEADER_MAX_BYTES + extra
    assert own(header) == ({USER: "WT3abc~"} if seen else {})


@pytest.mark.parametrize("cut", range(0, 24))
def test_I5_no_half_values(cut: int) -> None:
    """However the limit falls, a value is taken whole or not at all: half of one is another visitor's, or nobody's."""
    tail = f"; {USER}=WT3abc~; z=1"
    header = "x=" + "y" * (HEADER_MAX_BYTES - 2 - cut) + tail
    assert own(header).get(USER, "WT3abc~") == "WT3abc~"


def test_I5_limit_counts_over_all_headers() -> None:
    """The limit is for all Cookie headers together, and what lies beyond still counts as room that is taken."""
    filler = "x=" + "y" * (HEADER_MAX_BYTES - 2)
    found = read([filler, f"{USER}=a"], [WT])
    assert found.own == [{}]
    assert found.site_bytes == len(filler) + len(USER) + 2


@pytest.mark.parametrize(("before", "seen"), [(PAIRS_MAX - 2, True), (PAIRS_MAX - 1, True), (PAIRS_MAX, False)])
def test_I7_pairs_limit(before: int, seen: bool) -> None:
    """The 200th pair is read, the 201st is not."""
    assert own("a=1;" * before + f"{USER}=u") == ({USER: "u"} if seen else {})


def test_I7_thousands_of_cookies() -> None:
    """A header of 8,000 cookies costs no more than its first 200 pairs."""
    header = "; ".join(f"c{n}=1" for n in range(8000))
    start = time.thread_time()
    assert own(header) == {}
    assert time.thread_time() - start < 0.02


def test_I6_quoted_cookie_junk() -> None:
    """32 KB of escaped quotes, which stall other parsers for a second, pass in an instant (measured: 4 us)."""
    junk = f'{USER}="' + '\\"' * 16_000 + '"'
    start = time.thread_time()
    assert own(junk, junk) == {}
    assert time.thread_time() - start < 0.02


def test_I6_spaces_in_names() -> None:
    """Names of thousands of spaces do not make the name pattern go astray."""
    rule = CookieRule(prefixes=("a",), reads=lambda n: True, writes=lambda n: True, value_ok=lambda v: True)
    start = time.thread_time()
    assert own("a" + " " * 15_000 + "\x01=1", rule=rule) == {}
    assert time.thread_time() - start < 0.02


def test_site_bytes_are_what_is_left() -> None:
    """The site's share is the header without the vendor's cookies; what was refused still takes its room."""
    assert read([f"session=abc; {USER}=u"], [WT]).site_bytes == len("session=abc")
    assert read([f"{USER}={'a' * 2000}"], [WT]).site_bytes == len(USER) + 2001


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_I1_arbitrary_bytes_never_raise(raw: list[bytes]) -> None:
    """Whatever a browser or an attacker sends, reading it raises nothing and takes nothing unsound."""
    headers = [header.decode("latin-1") for header in raw]
    for name, value in own(*headers, rule=OPEN).items():
        assert writable(name, value.strip('"'), OPEN) is None
    read(headers, [WT, OPEN])


@given(st.lists(st.sampled_from([USER, MODE, control("a b"), "x", "=", ";", " ", '"', "\x00", "é", ",", "a" * 700])))
def test_I1_hostile_pieces(pieces: list[str]) -> None:
    """Headers put together of telling pieces yield names and values that could be sent back as they are."""
    for name, value in own("".join(pieces)).items():
        bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        assert WT.reads(name)
        assert octets_ok(bare)
        assert len(value) <= WT.max_bytes


# Writing


def test_attributes() -> None:
    """Every attribute is written where it belongs, in a fixed order."""
    written = line("n", "v", max_age_s=60, domain="mysite.com", secure=True, http_only=True)
    assert written == "n=v; Max-Age=60; Path=/; Domain=mysite.com; Secure; HttpOnly; SameSite=Lax"
    assert line() == "n=v; Path=/; SameSite=Lax"


def test_names_with_spaces_go_out_raw() -> None:
    """A name with a space is written raw, since the vendor's tag reads it raw."""
    assert line(control("ta_Project 1"), "WT3c").startswith("_wt.control-2490593-ta_Project 1=WT3c; ")


@pytest.mark.parametrize(
    ("age", "written"),
    [(-1, 0), (0, 0), (1, 1), (MAX_AGE_MAX_S, MAX_AGE_MAX_S), (MAX_AGE_MAX_S + 1, MAX_AGE_MAX_S), (10**30, 34560000)],
)
def test_V11_max_age_is_clamped(age: int, written: int) -> None:
    """A lifetime stays between 0 and 400 days."""
    assert f"; Max-Age={written};" in line(max_age_s=age)


@pytest.mark.parametrize("name", ["", " a", "a ", "a=b", "a;b", "a\r\nb", "a\x00", "a\tb", "é", "a\x7f"])
def test_bad_names_are_never_written(name: str) -> None:
    """A name that could break the header is refused at the last gate, whoever lets it through before."""
    assert writable(name, "v", OPEN) is ErrorCode.COOKIE_NAME
    with pytest.raises(ValueError, match="name"):
        line(name)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\n", "a\x00", "a;b", "a\x7f", "é", "\ud800", "a\tb"])
def test_V10_bad_values_are_never_written(value: str) -> None:
    """A value that could break the header is refused at the last gate, under any rule."""
    assert writable("n", value, OPEN) is ErrorCode.COOKIE_VALUE
    with pytest.raises(ValueError, match="value"):
        line("n", value)


@pytest.mark.parametrize("value", ["a,b", 'a"b', "a b", "a\\b", '"a"'])
def test_V10_beyond_cookie_octets(value: str) -> None:
    """What is printable but no cookie-octet passes only under a rule that wants it."""
    assert writable(USER, value, WT) is ErrorCode.COOKIE_VALUE
    assert writable("n", value, OPEN) is None


@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "__Host-x", "_wt.user-999", "_wt.project-2490593-ta", ""])
def test_V9_foreign_cookie_name(name: str) -> None:
    """The vendor may set its own cookies and no others."""
    assert writable(name, "v", WT) is ErrorCode.COOKIE_NAME


@pytest.mark.parametrize(("length", "code"), [(1023, None), (1024, None), (1025, ErrorCode.COOKIE_SIZE)])
def test_writable_length(length: int, code: ErrorCode | None) -> None:
    """A value may be as long as the rule says."""
    assert writable(USER, "a" * length, WT) is code


@pytest.mark.parametrize(("length", "code"), [(4094, None), (4095, None), (4096, ErrorCode.COOKIE_SIZE)])
def test_writable_length_of_a_pair(length: int, code: ErrorCode | None) -> None:
    """Name and value together stay within what every browser takes, whatever the rule says."""
    assert writable("n", "a" * length, OPEN) is code


@pytest.mark.parametrize(
    "domain", ["a.com;x", "a.com\r\n", "", ".a.com", "A.com", "localhost", "a..com", "-a.com", "é.de"]
)
def test_bad_domains_are_never_written(domain: str) -> None:
    """A domain that is not in its canonical form is refused at the last gate."""
    with pytest.raises(ValueError, match="domain"):
        line(domain=domain)


@given(st.text(max_size=30), st.text(max_size=30), st.integers() | st.none(), st.text(max_size=20) | st.none())
def test_a_written_line_cannot_break_out(name: str, value: str, age: int | None, domain: str | None) -> None:
    """Whatever is asked for, a line is either refused or one cookie with the attributes that we named."""
    try:
        written = line(name, value, max_age_s=age, domain=domain, secure=True)
    except ValueError:
        return
    assert re.fullmatch(r"[ -~]*", written)
    parts = written.split("; ")
    assert parts[0] == f"{name}={value}"
    assert {part.partition("=")[0] for part in parts[1:]} <= {"Path", "Max-Age", "Domain", "Secure", "SameSite"}
    assert written.count(";") == len(parts) - 1 == 3 + (age is not None) + (domain is not None)


@given(st.dictionaries(NAMES.filter(lambda name: not name.isspace()), OCTETS, max_size=8))
def test_round_trip(cookies: dict[str, str]) -> None:
    """What is written comes back as it was, in order, when a browser sends it."""
    sent = "; ".join(line(name, value).partition("; Path")[0] for name, value in cookies.items())
    found = own(sent, rule=OPEN)
    assert found == cookies
    assert list(found) == list(cookies)


@pytest.mark.parametrize(
    ("text", "good"), [("WT3aZ-_~", True), ("", True), ("a b", False), ("é", False), ("a;b", False)]
)
def test_octets(text: str, good: bool) -> None:
    """Cookie-octets are those of RFC 6265."""
    assert octets_ok(text) is good


def test_octets_by_the_book() -> None:
    """The set of octets is exactly that of RFC 6265 section 4.1.1."""
    allowed = {0x21, *range(0x23, 0x2C), *range(0x2D, 0x3B), *range(0x3C, 0x5C), *range(0x5D, 0x7F)}
    assert {n for n in range(256) if cookie_header.octets_ok(chr(n))} == allowed


# Joined by a comma


@pytest.mark.parametrize("joint", [",", ", ", " ,\t"])
def test_B4_fields_joined_by_a_comma(joint: str) -> None:
    """A comma before or after a vendor's cookie separates, as a semicolon does."""
    header = joint.join([f"a=1; {USER}=WT3a~", f"{MODE}=WT3m; b=2", f"{control('ta_Project 1')}=WT3c", "c=3"])
    assert own(header) == {USER: "WT3a~", MODE: "WT3m", control("ta_Project 1"): "WT3c"}


@pytest.mark.parametrize(
    "header", ["a=x,y=1; b=2", "a=1,2,3; b=,", f"a=1,{USER}", f'a="1,{USER.upper()}=x"', "a={1,2},b=3"]
)
def test_B4_commas_of_the_site(header: str) -> None:
    """A comma in the site's own values separates nothing."""
    assert own(header) == {}
    assert read([header], [WT]).site_bytes == len(header)


def test_B4_a_rule_that_allows_commas() -> None:
    """A vendor whose values may hold commas keeps them."""
    assert own("n=a,b=c,d", rule=OPEN) == {"n": "a,b=c,d"}
    assert own(f"n=a; {USER}=x,y") == {}


# The same name more than once

TIMED = CookieRule(
    prefixes=("t",),
    reads=lambda n: True,
    writes=lambda n: True,
    value_ok=octets_ok,
    newness=lambda name, value: float(value) if value.isdigit() else None,
)


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        (("1", "2"), "2"),
        (("2", "1"), "2"),
        (("x", "1"), "1"),
        (("1", "x"), "1"),
        (("x", "y"), "x"),
        (("1", "a b", "3", "2"), "3"),
        (("a b", "1"), "1"),
    ],
)
def test_B1_usable_beats_unusable_and_newest_beats_oldest(values: tuple[str, ...], chosen: str) -> None:
    """The order in which they come does not matter where their values tell; the name is noted as repeated."""
    found = read(["; ".join(f"t={value}" for value in values)], [TIMED])
    assert found.own == [{"t": chosen}]
    assert found.repeated == {(0, "t")}


def test_B1_a_single_bad_one_is_not_repeated() -> None:
    """Only what comes at least twice, and once as it should, is repeated."""
    assert read(["t=a b; u=1"], [TIMED]).repeated == set()


# Prefixes


@pytest.mark.parametrize("name", ["__Host-x", "__HOST-x", "__Secure-x", "__Http-x", "__Host-Http-x", "__host-http-x"])
def test_B3_prefixes_get_what_they_demand(name: str) -> None:
    """Browsers refuse such a cookie without it (RFC 6265bis, sections 4.1.3 and 5.7)."""
    made = line(name, domain="mysite.com", secure=True)
    assert "; Secure" in made and "; Path=/;" in made
    assert ("Domain=" in made) == ("host" not in name.lower())
    assert ("HttpOnly" in made) == ("http-" in name.lower())
    with pytest.raises(ValueError, match="secure"):
        line(name, secure=False)


def test_B3_other_names_with_underscores_are_as_ever() -> None:
    assert line("__utma", domain="mysite.com") == "__utma=v; Path=/; Domain=mysite.com; SameSite=Lax"
