"""Storage from outside: signed URLs, used over plain HTTP as a web page of another origin uses them.

What a page may read of a reply is decided by its CORS headers (Fetch standard, 3.2): each check reads them as a
browser does. The server's own credentials are used for signing and for cleaning up, never for the requests.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import httpx2

from reelmill.doctor.findings import Finding, failed, ok, warned
from reelmill.doctor.machine import web
from reelmill.doctor.storage import OCTETS, PART, fresh_key, stored
from reelmill.errors import ClockSkewed, CorsMissing, ObjectMissing, PublicUrlBroken, ReelmillError, StorageMisbehaves
from reelmill.jobs.model import SignedRequest, StoredPart
from reelmill.jobs.ports import ObjectStore

TIMEOUT_S = 15.0
APART_S = 60.0  #: clocks may be so far apart before it is told
REFUSED_S = 900.0  #: and S3 refuses what is further off
LATE_S = 20.0  #: a URL that still works so long after its end doesn't expire
OTHER_HOST = "another-host.invalid"


@runtime_checkable
class HasCors(Protocol):
    """A store whose CORS rules can be set."""

    def apply_cors(self, origins: Sequence[str] | None = None) -> None:
        """Let pages of these origins, or of those in the settings, use the store."""
        ...


class Browser:
    """A page of `origin`, and the store whose signed URLs it is given."""

    def __init__(self, objects: ObjectStore, *, origin: str, signs_host: bool, host: str | None = None) -> None:
        """signs_host: a request with another Host must be refused. host: that URLs must have (or one below it)."""
        self._objects = objects
        self._origin = origin
        self._signs_host = signs_host
        self._host = host
        self._http = web(TIMEOUT_S)

    def close(self) -> None:
        self._http.close()

    # ── the checks ────────────────────────────────────────────────────────────────────────────

    def fetches(self) -> Finding:
        """GET a signed URL, with nothing else: is it this store that clients reach?"""
        with stored(self._objects) as (key, body):
            url = self._signed_get(key)
            reply = self._ask("GET", url)
            if reply.status_code != 200 or reply.content != body:
                raise PublicUrlBroken(f"A signed GET from {_place(url)} brought {_told(reply)}.")
        return ok(f"{_place(url)} brings what was stored", url=_place(url))

    def preflight(self) -> Finding:
        """Ask for permission, as a browser does before a PUT from another origin."""
        put = self._objects.sign_put(fresh_key(), size_bytes=1, content_type=OCTETS, sha256=_sha256(b"1"))
        names = sorted({name.lower() for name in put.headers} - {"content-length", "host"})
        reply = self._ask(
            "OPTIONS",
            put.url,
            {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": ",".join(names)},
        )
        if not reply.is_success:
            return self._no_cors(f"A preflight (OPTIONS) brought {_told(reply)}.")
        methods, headers = _list(reply, "Access-Control-Allow-Methods"), _list(reply, "Access-Control-Allow-Headers")
        refused = [name for name in names if not headers & {name, "*"}]
        if not self._is_allowed(reply):
            return self._no_cors(f"The preflight's reply doesn't let pages of {self._origin} in.")
        if not methods & {"put", "*"}:
            return self._no_cors("The preflight's reply doesn't allow PUT.")
        if refused:
            return self._no_cors(f"The preflight's reply doesn't allow the header {', '.join(refused)}.")
        return ok(f"pages of {self._origin} may PUT")

    def puts(self) -> Finding:
        """PUT to a signed URL and read the ETag of the reply."""
        body, key = secrets.token_bytes(1000), fresh_key()
        put = self._objects.sign_put(key, size_bytes=len(body), content_type=OCTETS, sha256=_sha256(body))
        try:
            reply = self._send(put, body)
            if not reply.is_success:
                raise StorageMisbehaves(f"A signed PUT brought {_told(reply)}.")
            if (size := self._objects.head(key).size_bytes) != len(body):
                raise StorageMisbehaves(f"Of {len(body)} bytes that were PUT, {size} are there.")
            return self._unreadable_etag(reply) or ok("stored, its ETag can be read")
        finally:
            self._objects.delete(key)

    def parts(self) -> Finding:
        """Send an object in two parts, read their ETags, join them."""
        objects, key = self._objects, fresh_key()
        first, last = secrets.token_bytes(max(1, objects.limits.part_min_bytes)), secrets.token_bytes(1000)
        upload = objects.begin_multipart(
            key, size_bytes=len(first) + len(last), part_size=len(first), content_type=OCTETS
        )
        try:
            etags = []
            for number, body in enumerate((first, last), 1):
                part = objects.sign_part(key, upload, number, size_bytes=len(body), sha256=_sha256(body))
                reply = self._send(part, body)
                if not reply.is_success:
                    raise StorageMisbehaves(f"The PUT of part {number} brought {_told(reply)}.")
                if unreadable := self._unreadable_etag(reply):
                    return unreadable
                etags.append(reply.headers["ETag"])
            arrived = objects.list_parts(key, upload)
            self._complete(key, upload, arrived, etags, len(first) + len(last))
        finally:
            with suppress(ReelmillError):  # completed, or what went wrong is told already
                objects.abort_multipart(key, upload)
            objects.delete(key)
        return ok("two parts sent and joined, their ETags can be read")

    def _complete(self, key: str, upload: str, arrived: Sequence[StoredPart], etags: list[str], size: int) -> None:
        if [part.etag.strip('"') for part in arrived] != [etag.strip('"') for etag in etags]:
            raise StorageMisbehaves("The parts that arrived aren't those that were sent.")
        if self._objects.complete_multipart(key, upload, arrived).size_bytes != size:
            raise StorageMisbehaves("The object of two parts hasn't their size.")

    def ranges(self) -> Finding:
        """GET the middle of an object, as a player seeks."""
        with stored(self._objects) as (key, body):
            span = f"{PART.start}-{PART.stop - 1}"
            reply = self._ask("GET", self._signed_get(key), {"Range": f"bytes={span}"})
            if reply.status_code != 206 or reply.content != body[PART]:
                raise StorageMisbehaves(
                    f"A GET with Range: bytes={span} brought {_told(reply)}, not 206 with the part."
                )
            if not self._is_allowed(reply):
                return self._no_cors(f"The reply to a GET doesn't let pages of {self._origin} read it.")
        return ok("206 with the part that was asked for")

    def sizes(self) -> Finding:
        """PUT one byte more than was signed: it must be refused."""
        body, key = secrets.token_bytes(1001), fresh_key()
        put = self._objects.sign_put(key, size_bytes=len(body) - 1, content_type=OCTETS, sha256=None)
        try:
            reply = self._send(put, body)
            with suppress(ObjectMissing):
                size = self._objects.head(key).size_bytes
                raise StorageMisbehaves(f"A PUT of 1001 bytes to a URL for 1000 was taken; {size} are there.")
            if reply.is_success:
                raise StorageMisbehaves(f"A PUT of 1001 bytes to a URL for 1000 brought {_told(reply)}.")
        finally:
            self._objects.delete(key)
        return ok(f"one byte too many is refused ({reply.status_code})")

    def expires(self, *, late_s: float = LATE_S) -> Finding:
        """Use a URL after its end: it must be refused, at the latest `late_s` seconds after."""
        with stored(self._objects) as (key, _):
            url = self._signed_get(key, life_s=1)
            if not self._ask("GET", url).is_success:  # so that something in between may keep the reply
                raise StorageMisbehaves("A URL signed for a second was refused at once.")
            until = time.monotonic() + 1 + late_s
            while (reply := self._ask("GET", url)).is_success:
                if time.monotonic() > until:
                    raise StorageMisbehaves(f"A URL signed for a second still works {late_s:.0f} s later.")
                time.sleep(0.25)
        return ok(f"a URL is refused after its end ({reply.status_code})")

    def hosts(self) -> Finding:
        """See that URLs carry the public host, and what becomes of a request for another."""
        with stored(self._objects) as (key, _):
            url = self._signed_get(key)
            host = urlsplit(url).netloc
            if self._host is not None and host != self._host and not host.endswith(f".{self._host}"):
                raise PublicUrlBroken(f"Signed URLs begin with {_place(url)}; clients reach storage at {self._host}.")
            reply = self._ask("GET", url, {"Host": OTHER_HOST})
        if not reply.is_success:
            return ok(f"URLs are for {host}; for another host they are refused ({reply.status_code})")
        if self._signs_host:
            raise StorageMisbehaves("A request with another Host was answered: the signature doesn't cover it.")
        return ok(f"URLs are for {host}; the folder's signature covers method, key and end, whatever the host's name")

    def clock(self, *, most_s: float = APART_S) -> Finding:
        """Compare the Date of a reply with this machine's clock. most_s: they may be so many seconds apart."""
        asked, began = datetime.now(UTC), time.monotonic()
        with stored(self._objects) as (key, _):
            reply = self._ask("GET", self._signed_get(key))
        took_s = time.monotonic() - began
        try:
            theirs = parsedate_to_datetime(reply.headers.get("Date", ""))
        except ValueError:
            return warned(ClockSkewed("Its replies have no Date, so that its clock can't be compared."))
        off_s = (theirs - asked).total_seconds()
        apart_s = max(0.0, off_s - took_s) if off_s > 0 else min(0.0, off_s + 1)  # Date has whole seconds
        if abs(apart_s) > most_s:
            problem = ClockSkewed(f"Storage's clock is {apart_s:+.0f} s off this machine's.")
            return (failed if abs(apart_s) > REFUSED_S else warned)(problem, apart_s=apart_s)
        return ok("agrees with this machine's", apart_s=apart_s)

    # ── what they ask by ──────────────────────────────────────────────────────────────────────

    def _signed_get(self, key: str, life_s: int = 60) -> str:
        return self._objects.generate_presigned_download_url(self._objects.bucket, key, life_s)

    def _send(self, request: SignedRequest, body: bytes) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        return self._ask(request.method, request.url, headers, body)

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> httpx2.Response:
        """Send a request from the page. Raises PublicUrlBroken when nothing answers."""
        try:
            return self._http.request(method, url, headers={"Origin": self._origin, **(headers or {})}, content=body)
        except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
            raise PublicUrlBroken(
                f"{_place(url)} doesn't answer a {method}: {problem or type(problem).__name__}."
            ) from problem

    def _is_allowed(self, reply: httpx2.Response) -> bool:
        return reply.headers.get("Access-Control-Allow-Origin") in ("*", self._origin)

    def _unreadable_etag(self, reply: httpx2.Response) -> Finding | None:
        """Return what keeps a page from reading the reply's ETag; None if nothing does."""
        if not self._is_allowed(reply):
            return self._no_cors(f"The reply to a PUT doesn't let pages of {self._origin} read it.")
        if "ETag" not in reply.headers:
            raise StorageMisbehaves("The reply to a PUT has no ETag.")
        if not _list(reply, "Access-Control-Expose-Headers") & {"etag", "*"}:
            return self._no_cors("The reply to a PUT doesn't expose its ETag, which uploads in parts need.")
        return None

    def _no_cors(self, detail: str) -> Finding:
        objects = self._objects
        if not isinstance(objects, HasCors):
            return failed(CorsMissing(detail))
        store: HasCors = objects

        def allow() -> str:
            store.apply_cors()
            return f"set the CORS rules of the bucket {objects.bucket}"

        return failed(CorsMissing(detail), fix="reelmill doctor --fix", mend=allow)


def _list(reply: httpx2.Response, name: str) -> set[str]:
    return {word.strip().lower() for word in reply.headers.get(name, "").split(",")}


def _told(reply: httpx2.Response) -> str:
    """Return a reply in a few words: its status, and the code that storage gave."""
    text = reply.text[:2000] if reply.is_error else ""
    marks = (("<Code>", "</Code>"), ('"code":"', '"'))
    code = next((text.split(begin, 1)[1].split(end, 1)[0] for begin, end in marks if begin in text), "")
    return f"{reply.status_code} {code or reply.reason_phrase}".strip()


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
