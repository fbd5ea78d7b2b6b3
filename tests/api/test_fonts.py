"""A tenant's own fonts: uploaded, named in texts, drawn, and nobody else's."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from odd_fonts import changed
from reelmill.api.fonts import MOST_FONTS
from reelmill.errors import FontMissing
from reelmill.jobs.model import Caller
from reelmill.media.fonts import faces
from reelmill.objects.folder import FolderStore, load_secret
from reelmill.pipelines.fonts import KIND, MOST_BYTES, Fonts

if TYPE_CHECKING:
    from conftest import Client, Running

HOUSE = next(face.path for face in faces() if "Ethiopic" in face.path.name)
OTHER = next(face.path for face in faces() if "Georgian" in face.path.name)
WORDS = "ሰላም"


def add(asker: Client, font: Path | bytes, expect: int = 201, **more: Any) -> dict[str, Any]:
    content = font if isinstance(font, bytes) else font.read_bytes()
    return asker.call("POST", "/fonts", expect, content=content, **more)  # type: ignore[no-any-return]


@pytest.fixture
def tenant() -> str:
    """One without fonts."""
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def asker(connect: Callable[..., Client], tenant: str) -> Client:
    return connect("admin", tenant=tenant)


@pytest.mark.req("B-05")
def test_a_text_is_drawn_in_an_uploaded_font(asker: Client, tmp_path: Path, film: Path) -> None:
    # Fewer units to a font size: its letters are larger than those of the font that is installed.
    house = changed(Path(shutil.copyfile(HOUSE, tmp_path / "House.ttf")), b"head", 18, struct.pack(">H", 800))
    made = add(asker, house, params={"name": "House"})
    sha256 = hashlib.sha256(house.read_bytes()).hexdigest()
    assert (made["name"], made["family"], made["sha256"]) == ("House", "Noto Sans Ethiopic", sha256)
    assert made["size_bytes"] == HOUSE.stat().st_size
    assert asker.call("GET", "/fonts")["items"] == [made]
    video_id = asker.upload(film)["video_id"]
    look = {"font": "House", "size_pct": 12}
    asked = {"video_id": video_id, "text": WORDS, "style": look}
    seen = asker.request("POST", "/api/v1/texts/preview", json=asked)
    plain = asker.request("POST", "/api/v1/texts/preview", json={**asked, "style": {**look, "font": None}})
    assert (seen.status_code, plain.status_code) == (200, 200) and seen.content != plain.content
    assert json.loads(seen.headers["text-report"])["fallback_fonts"] == []
    assert json.loads(plain.headers["text-report"])["fallback_fonts"] == ["NotoSansEthiopic"]
    params = {"cutting": {"duration_s": 60}, "text": {**look, "text": WORDS}}
    job_id = asker.run(video_id, "clips", params)
    assert asker.wait(job_id)["status"] == "completed"
    assert asker.call("GET", f"/jobs/{job_id}")["params"]["text"]["font_file"] == f"{made['id']}.{sha256}"
    (clip,) = [one for one in asker.call("GET", f"/jobs/{job_id}/artifacts")["items"] if one["kind"] == "clip"]
    assert clip["meta"]["text_report"]["fallback_fonts"] == []
    # A preset names it as well.
    asker.call("POST", "/presets", 201, json={"name": "ours", "style": look})
    report = asker.request("POST", "/api/v1/texts/preview", json={**asked, "style": {"preset": "ours"}})
    assert report.content == seen.content


@pytest.mark.req("B-05", "D-02")
def test_what_is_no_good_font_is_refused_and_nothing_stays(
    asker: Client, tenant: str, server: Running, tmp_path: Path
) -> None:
    whole = HOUSE.read_bytes()
    forbidden = changed(Path(shutil.copyfile(HOUSE, tmp_path / "a.ttf")), b"OS/2", 8, struct.pack(">H", 2))
    huge = changed(Path(shutil.copyfile(HOUSE, tmp_path / "b.ttf")), b"head", 18, struct.pack(">H", 16))
    for content, why in (
        (b"", "no TrueType"),
        (b"<html>no font</html>", "no TrueType"),
        (whole[: len(whole) // 3], "a part of it is missing"),
        (forbidden.read_bytes(), "forbids embedding"),
        (huge.read_bytes(), "larger than"),
    ):
        refused = add(asker, content, 422, params={"name": "House"})
        assert refused["code"] == "font_rejected" and why in refused["detail"] and refused["remedy"]
    assert add(asker, bytes(MOST_BYTES + 1), 413)["code"] == "request_too_large"
    assert add(asker, HOUSE, 422, params={"name": "../House"})["code"] == "request_invalid"
    assert asker.call("GET", "/fonts")["items"] == []
    assert not list(server.app.objects.keys(f"{tenant}/fonts/"))
    assert not list((server.app.settings.data / "scratch").glob("*-received-*"))


@pytest.mark.req("B-05", "C-02")
def test_another_tenants_font_is_an_unknown_one(asker: Client, connect: Callable[..., Client], film: Path) -> None:
    theirs = add(connect("admin", tenant="fonts-other"), HOUSE, params={"name": "Theirs"})
    assert asker.call("GET", "/fonts")["items"] == []
    video_id = asker.upload(film)["video_id"]
    file = f"{theirs['id']}.{theirs['sha256']}"

    def refused(text: dict[str, Any]) -> str:
        body = {"video_id": video_id, "pipeline": "clips", "params": {"text": {"text": WORDS, **text}}}
        reply = asker.call("POST", "/jobs", 422, json=body)
        assert reply["code"] == "params_invalid"
        return str(reply["detail"]).replace("Theirs", "Nobodys")

    assert refused({"font": "Theirs"}) == refused({"font": "Nobodys"}) == refused({"font": "Theirs", "font_file": file})
    # The file alone names nothing either: the server leaves it out.
    job_id = asker.run(video_id, "clips", {"text": {"text": WORDS, "font_file": file}})
    assert asker.call("GET", f"/jobs/{job_id}")["params"]["text"]["font_file"] is None
    asker.wait(job_id)


@pytest.mark.req("B-05")
def test_a_name_is_taken_once_and_a_repeated_upload_makes_one(asker: Client, tenant: str, server: Running) -> None:
    again = {"Idempotency-Key": "one"}
    made = add(asker, HOUSE, headers=again)
    assert made["name"] == "Noto Sans Ethiopic" and add(asker, HOUSE, headers=again) == made
    assert add(asker, OTHER, 422, headers=again)["code"] == "idempotency_mismatch"
    assert add(asker, OTHER, 409, params={"name": "Noto Sans Ethiopic"})["code"] == "name_taken"
    assert len(list(server.app.objects.keys(f"{tenant}/fonts/"))) == 1
    told = asker.call("GET", "/audit", params={"target": made["id"]})["items"]
    assert [entry["action"] for entry in told] == ["font.create"]
    assert asker.call("DELETE", f"/fonts/{made['id']}") == made
    assert not list(server.app.objects.keys(f"{tenant}/fonts/"))
    assert asker.call("DELETE", f"/fonts/{made['id']}", 404)["code"] == "not_found"


def test_a_tenant_has_a_limited_number(asker: Client, tenant: str, server: Running) -> None:
    first = add(asker, OTHER)
    kept = server.app.access.brands(tenant, KIND)[0]
    for _ in range(MOST_FONTS - 1):
        one = str(uuid.uuid4())
        server.app.access.add_brand(one, KIND, one, kept.data, Caller(tenant=tenant, user_id="tests"))
    assert add(asker, HOUSE, 409)["code"] == "too_many_fonts"
    asker.call("DELETE", f"/fonts/{first['id']}")
    add(asker, HOUSE)


@pytest.mark.req("B-05")
def test_a_font_that_is_gone_is_never_replaced_by_another(
    asker: Client, tenant: str, server: Running, film: Path
) -> None:
    made = add(asker, HOUSE, params={"name": "House"})
    (key,) = server.app.objects.keys(f"{tenant}/fonts/")
    server.app.objects.delete(key)
    shutil.rmtree(server.app.settings.data / "cache" / "fonts", ignore_errors=True)
    body = {"video_id": asker.upload(film)["video_id"], "pipeline": "clips", "params": {"text": {"text": WORDS}}}
    body["params"]["text"]["font"] = "House"
    assert asker.call("POST", "/jobs", 422, json=body)["code"] == "font_missing"
    asker.call("DELETE", f"/fonts/{made['id']}")


def test_each_machine_fetches_a_font_once_and_whole(tmp_path: Path) -> None:
    """What lies in a cache is compared with its name before it is drawn with."""
    objects = FolderStore(tmp_path / "objects", secret=load_secret(tmp_path / "secret"), base_url="")
    sha256 = hashlib.sha256(HOUSE.read_bytes()).hexdigest()
    file = f"{uuid.uuid4()}.{sha256}"
    sent = Path(shutil.copyfile(HOUSE, tmp_path / "sent.ttf"))
    objects.put_file(f"acme/fonts/{file}", sent, content_type="font/sfnt", sha256=sha256)
    cached = tmp_path / "one" / f"{sha256}.ttf"
    first = Fonts(objects=objects, cache=cached.parent)
    assert first.of("House", file, "acme") == [cached] and cached.read_bytes() == HOUSE.read_bytes()
    with pytest.raises(FontMissing):
        first.of("House", f"{uuid.uuid4()}.{'0' * 64}", "acme")
    cached.write_bytes(b"torn by a crash")
    other_process = Fonts(objects=objects, cache=cached.parent)
    assert other_process.of("House", file, "acme")[0].read_bytes() == HOUSE.read_bytes()
    objects.delete(f"acme/fonts/{file}")
    assert first.of("House", file, "acme") == [cached], "it was fetched before"
    with pytest.raises(FontMissing):
        Fonts(objects=objects, cache=tmp_path / "two").of("House", file, "acme")
    assert first.digests("House", file) == [sha256]
