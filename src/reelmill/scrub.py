"""Secrets are taken out of text: of each log line, and of what programs say, which becomes part of a record."""

from __future__ import annotations

import re
from collections.abc import Iterable

STARS = "***"
#: What a secret looks like: a signing parameter's value, a key of ours, a password in a URL, a credential's header.
SECRET = re.compile(
    r"""
      (?P<named> (?<![\w-]) (?: signature | token | sig | x-amz-(?:signature|credential|security-token) ) (?:=|%3[Dd]) )
        [^&\s"'\\<>]+
    | (?P<ours> \brm_ ) [A-Za-z0-9_-]{20,}
    | (?P<address> \b[a-z][a-z0-9+.-]*:// [^\s:/@"']* : ) [^\s/"']+ (?=@)
    | (?P<header> \b (?: authorization | cookie | set-cookie | x-api-key | webhook-signature )
        ["']? \s* [:=] \s* ["']? (?: (?:bearer|basic) \s+ )? ) [^\s"',}]+
    | (?P<cookie> \breelmill_[0-9a-f]{8}= ) [^\s;"']+
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: One of these is in every text in which SECRET finds something. It looks at each place: that is dear for a line of
#: the log, and most lines have none.
HINTS = ("=", "%3d", "rm_", "://", "author", "cook", "x-ap", "webhook-")


def scrub(text: str, known: Iterable[str] = ()) -> str:
    """Return the text without what looks like a secret, and without the known ones.

    known: secrets to be found whatever they look like; of eight characters and more, or plain words would be lost.
    """
    for secret in known:
        if len(secret) >= 8:
            text = text.replace(secret, STARS)
    lowered = text.casefold()
    if not any(hint in lowered for hint in HINTS):
        return text
    return SECRET.sub(lambda found: f"{found[found.lastgroup or 0]}{STARS}", text)
