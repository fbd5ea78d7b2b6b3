"""`reelmill demo`: the first thing that a person does must work, and must notice when something doesn't."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image
from test_cli import CLEAN, frames, gone_below, make_film, ran, run, sha256, wait_for_ffmpeg, working_below

from reelmill.cli.demo import check_clip, check_clips, check_whole
from reelmill.schemas import ArtifactReply
from running import REELMILL


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=6, rate=30)


@pytest.mark.req("A-06", "A-07", "B-10")
def test_the_demo_makes_checked_clips_and_leaves_only_them(tmp_path: Path, film: Path) -> None:
    said = ran(tmp_path, "demo", film, "--every", "2")

    out = tmp_path / "demo"
    clips = sorted(out.glob("clip-*.mp4"))
    assert sum(frames(clip) for clip in clips) == frames(film) == 180
    assert f"Everything is right: {len(clips)} clips, 180 frames" in said
    assert str(out / "contact-sheet.png") in said
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.format == "PNG"
    names = {f"clip-000{n}.{kind}" for n in (1, 2, 3) for kind in ("mp4", "jpg")}
    assert {path.name for path in out.iterdir()} == names | {"manifest.json", "contact-sheet.png"}
    assert gone_below(tmp_path), working_below(tmp_path)


def test_without_a_film_the_demo_makes_one_and_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "--samples", tmp_path / "none", "--out", "here", "--every", "15")

    assert done.returncode == 0, done.stderr
    assert "a test film of 30 s is made" in done.stdout
    assert "Everything is right: 2 clips, 900 frames" in done.stdout
    assert {path.suffix for path in (tmp_path / "here").iterdir()} == {".mp4", ".jpg", ".json", ".png"}


def test_the_demo_in_json_and_its_server_kept(tmp_path: Path, film: Path) -> None:
    told = json.loads(ran(tmp_path, "demo", film, "--every", "3", "--keep", "--json"))

    assert (told["ok"], told["wrong"], told["folder"]) == (True, [], "demo")
    assert [clip["frames"] for clip in told["clips"]] == [90, 90]
    assert Path(tmp_path, told["data"], "reelmill.db").is_file()


def test_a_demo_of_something_else_fails_and_leaves_no_server(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("This is no video.\n" * 100)
    done = run(tmp_path, "demo", "notes.txt")

    assert done.returncode == 1
    assert "not_a_video" in done.stderr
    assert gone_below(tmp_path)
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_server_that_cant_start_is_told_with_its_reason(tmp_path: Path, film: Path) -> None:
    done = run(tmp_path, "demo", film, REELMILL_LEASE_S="-1")

    assert done.returncode == 5
    assert "REELMILL_LEASE_S" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_its_server_along(tmp_path: Path, number: signal.Signals) -> None:
    film = make_film(tmp_path / "long.mp4", seconds=300)
    process = subprocess.Popen(
        [str(REELMILL), "demo", str(film), "--every", "150"], cwd=tmp_path, env=CLEAN | {"REELMILL_GRACE_S": "1"}
    )
    wait_for_ffmpeg(tmp_path / "demo")
    process.send_signal(number)

    assert process.wait(30) == 128 + number
    assert gone_below(tmp_path / "demo"), working_below(tmp_path / "demo")
    assert list((tmp_path / "demo").iterdir()) == []


def test_a_demo_again_replaces_the_earlier_one(tmp_path: Path, film: Path) -> None:
    ran(tmp_path, "demo", film, "--every", "1")
    ran(tmp_path, "demo", film, "--every", "3")

    assert len(list((tmp_path / "demo").glob("*.mp4"))) == 2


def test_the_checks_find_what_is_wrong(tmp_path: Path, film: Path) -> None:
    ran(tmp_path, "clip", film, "--every", "3", "--out", "out")
    out = tmp_path / "out"
    manifest = json.loads((out / "manifest.json").read_text())
    artifacts = [as_artifact(out / clip["name"], clip) for clip in manifest["clips"]]
    first, listed = artifacts[0], manifest["clips"][0]
    path = out / first.name

    assert check_clip(path, first, listed).wrong == []
    assert check_whole(out, artifacts, check_clips(out, artifacts), manifest) == []

    def wrong(**changed: object) -> str:
        return "; ".join(check_clip(path, first.model_copy(update={"meta": {**first.meta, **changed}}), listed).wrong)

    assert "90 frames, 91 were planned" in wrong(frames=91)
    assert "3.500 s were planned" in wrong(end_s=3.5)
    assert "shouldn't have sound" in wrong(audio_codec=None)
    assert "isn't the manifest's" in "; ".join(check_clip(path, first, None).wrong)
    assert "180 frames" not in "; ".join(check_whole(out, artifacts, check_clips(out, artifacts), manifest))
    fewer = check_clips(out, artifacts)[:1]
    assert "the clips have 90 frames together, the source has 180" in check_whole(out, artifacts, fewer, manifest)
    other = {"clips": manifest["clips"][:1]}
    assert "the job's cuts aren't those of the dry run" in check_whole(
        out, artifacts, check_clips(out, artifacts), other
    )

    shutil.copy(path, tmp_path / "whole.mp4")
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    broken = check_clip(path, first, listed).wrong
    assert "its SHA-256 isn't the job's" in broken
    assert any("decode" in text or "frames" in text for text in broken)
    (out / "contact-sheet.png").write_bytes(b"no picture")
    assert any("contact-sheet" in text for text in check_whole(out, artifacts, [], manifest))


def as_artifact(path: Path, clip: dict[str, object]) -> ArtifactReply:
    return ArtifactReply.model_validate(
        {
            "id": "1", "job_id": "1", "stage": "render", "index": clip["index"], "kind": "clip", "name": path.name,
            "key": path.name, "place": "stored", "retries": 0, "stored_at": "2026-11-21T12:00:00Z",
            "size": path.stat().st_size, "sha256": sha256(path), "content_type": "video/mp4", "meta": clip,
            "primary": True, "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "url": None,
        }
    )  # fmt: skip
