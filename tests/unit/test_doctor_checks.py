"""Checks by themselves: side by side, in order, in time; and what each sees on this real machine."""

from __future__ import annotations

import re
import socket
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from making import claim_one, done, make_job
from media_sources import make_source
from reelmill.doctor import database, machine
from reelmill.doctor.findings import Check, Examiner, Level, failed, ok
from reelmill.errors import DiskLow
from reelmill.media import ClipPlan, ClipSettings, ProxySettings, clip_arguments, find_ffmpeg, grid, probe, tools
from reelmill.media.graphs import Shape, overlay_graph, picture_graph, sound_graph
from reelmill.media.mixing import Music, mix_graph
from reelmill.media.paint import Picture
from reelmill.media.proxy import proxy_arguments
from reelmill.media.scenes import Film, Overlay, ScenePlan, SceneSettings, fade_graph, scene_arguments, sizes
from reelmill.media.sound import loudnorm
from reelmill.media.stills import Watermark, fill_steps, watermark_steps
from reelmill.stores.sql import SqlStore

# ── how checks are made ───────────────────────────────────────────────────────────────────────


def test_a_check_that_breaks_doesnt_stop_the_others() -> None:
    def broken() -> machine.Finding:
        raise ZeroDivisionError("a defect")

    checks = [
        Check(name="a", title="A", look=broken),
        Check(name="b", title="B", look=lambda: ok("fine"), needs=("a",)),
        Check(name="c", title="C", look=lambda: ok("fine")),
        Check(name="d", title="D", look=lambda: ok("fine"), needs=("b",)),
    ]
    a, b, c, d = Examiner(checks).examine()

    assert (a.level, a.problem and a.problem.code) == (Level.FAILED, "internal_error")
    assert (b.level, d.level, c.level) == (Level.SKIPPED, Level.SKIPPED, Level.OK)
    assert "A" in b.detail and "ZeroDivisionError: a defect" in a.detail


def test_a_check_that_hangs_is_given_up_and_not_begun_twice() -> None:
    let_go, begun = threading.Event(), []

    def hang() -> machine.Finding:
        begun.append(1)
        let_go.wait(60)
        return ok("at last")

    examiner = Examiner(
        [Check(name="slow", title="Slow", look=hang, limit_s=0.2), Check(name="b", title="B", look=lambda: ok("fine"))]
    )
    for _ in range(2):
        slow, other = examiner.examine()
        assert slow.problem is not None and slow.problem.code == "check_timed_out"
        assert other.level is Level.OK
    let_go.set()
    assert len(begun) == 1
    while examiner.examine()[0].level is not Level.OK:
        pass


def test_checks_are_made_side_by_side() -> None:
    both = threading.Barrier(2)

    def meet() -> machine.Finding:
        both.wait(30)  # alone, nobody gets past it
        return ok("met")

    found = Examiner([Check(name=name, title=name, look=meet, limit_s=40) for name in "ab"]).examine()

    assert [one.level for one in found] == [Level.OK, Level.OK]


def test_findings_come_in_the_order_of_the_checks() -> None:
    first = threading.Event()

    def wait() -> machine.Finding:
        first.wait(30)
        return failed(DiskLow())

    def go() -> machine.Finding:
        first.set()
        return ok("")

    found = Examiner([Check(name="x", title="X", look=wait), Check(name="y", title="Y", look=go)]).examine()

    assert [one.name for one in found] == ["x", "y"]


# ── what they see ─────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_red_and_a_nearly_full_one_yellow(tmp_path: Path) -> None:
    folders = {"data": tmp_path, "scratch": tmp_path / "not" / "yet"}
    plenty = machine.disk(folders, least_bytes=1, low=0.0)
    assert (plenty.level, set(plenty.data)) == (Level.OK, {"data", "scratch"})

    red = machine.disk(folders, least_bytes=plenty.data["data"] * 2 + 1)
    assert (red.level, red.problem and red.problem.code) == (Level.FAILED, "disk_low")
    assert str(tmp_path) in red.fix or "du -xh" in red.fix

    yellow = machine.disk(folders, least_bytes=1, low=1.01)
    assert (yellow.level, yellow.problem and yellow.problem.code) == (Level.WARNING, "disk_low")


def test_a_clock_that_is_off_is_told(store: SqlStore) -> None:
    assert database.answers(store).level is Level.OK
    told = database.answers(store, most_s=-1)  # any clock is further off than that
    assert (told.level, told.problem and told.problem.code) == (Level.WARNING, "clock_skewed")


@pytest.mark.req("A-08")
def test_a_jobs_row_is_made_moved_read_and_removed(store: SqlStore) -> None:
    found = database.job_row(store)

    assert found.level is Level.OK
    assert found.rows["status"] == "awaiting_upload → cancelled"
    assert store.jobs(database.TENANT).items == () and store.videos(database.TENANT).items == ()
    assert store.jobs_by_id([str(found.rows["job_id"])]) == [] and store.unswept() == []
    assert store.events_after({str(found.rows["job_id"]): 0}) == []


def test_forgetting_leaves_other_tenants_alone(store: SqlStore) -> None:
    mine, other = make_job(store), make_job(store)
    store.close(claim_one(store), done({}))
    store.forget("somebody", mine.video_id)
    assert store.job(mine.id).id == mine.id
    store.forget("acme", mine.video_id)
    assert store.jobs_by_id([mine.id, other.id])[0].id == other.id
    assert [job.id for job in store.jobs("acme").items] == [other.id]


def test_a_port_is_free_ours_or_somebody_elses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        other.settimeout(0.0)
        closing = threading.Event()

        def hang_up() -> None:
            other.setblocking(True)
            with_it, _ = other.accept()
            with_it.close()
            closing.set()

        threading.Thread(target=hang_up, daemon=True).start()
        taken = machine.port("127.0.0.1", number)
        assert closing.wait(30), "it was asked who it is"
    assert (taken.level, taken.problem and taken.problem.code) == (Level.FAILED, "port_taken")
    name, _, free = taken.fix.removeprefix("export ").partition("=")
    assert name == "REELMILL_PORT" and machine.port("127.0.0.1", int(free)).level is Level.OK
    assert machine.port("127.0.0.1", number).level is Level.OK
    assert machine.port("127.0.0.1", 0).level is Level.OK


def test_an_address_of_another_machine_cant_be_served_from() -> None:
    found = machine.port("192.0.2.1", 8000)
    assert (found.level, found.fix) == (Level.FAILED, "export REELMILL_HOST=127.0.0.1")


# ── what ffmpeg must have ─────────────────────────────────────────────────────────────────────


def test_our_ffmpeg_lacks_nothing_and_another_program_everything() -> None:
    assert tools.lacking(find_ffmpeg(None)) == []
    lacking = tools.lacking(Path("/bin/echo"))
    assert "encoder libx264" in lacking and "filter zscale" in lacking and "demuxer mov" in lacking


def test_the_filters_asked_for_are_those_of_the_graphs(tmp_path: Path) -> None:
    """Both ways: none is used that isn't asked for, none is asked for that isn't used."""
    source = probe(str(make_source(tmp_path / "film.mp4", seconds=2)), scratch=tmp_path)
    video = source.video
    text = Picture(tmp_path / "text.png", 0, 0, 16, 16)
    hdr = replace(video, hdr=True, color_transfer="smpte2084", color_primaries="bt2020", color_space="bt2020nc")
    kinds = [
        source,
        replace(source, video=hdr),
        replace(source, video=replace(video, interlaced=True, pixel_format="rgb24")),
        replace(source, video=replace(video, width=video.width - 1)),
    ]
    shapes = [Shape(), Shape(width=64, height=64, fit="cover"), Shape(width=64, height=64, fit="pad")]
    graphs = [picture_graph(kind, shape, 0, 10, "yuv420p", "plain") for kind in kinds for shape in shapes]
    graphs += [
        overlay_graph(text, kind, Shape(keep_hdr=deep), 1, None, ten_bits=deep)
        for kind in kinds[:2]
        for deep in (False, True)
    ]
    for track in (source, replace(source, audio_tracks=())):
        arguments = clip_arguments("film.mp4", track, ClipPlan(0, 5, None, ClipSettings()), tmp_path / "o.mp4")
        graphs.append(arguments[arguments.index("-filter_complex") + 1])
    graphs.append(sound_graph(source.audio_tracks[0], None, Fraction(0), Fraction(1), "stereo"))
    small = ProxySettings(ClipSettings())
    even = grid(source, Fraction(10))
    assert even is not None
    whole = proxy_arguments("film.mp4", source, small, even, tmp_path / "o.mp4", references=True)
    graphs.append(whole[whole.index("-filter_complex") + 1])
    graphs.append(f"[sound]{loudnorm(-16)}[told]")
    film = Film("film.mp4", source, 0.0)
    for background in (tmp_path / "still.png", film):
        plan = ScenePlan(30, 14, 30, background, "zoom_in", (Overlay(text, 0, 9),))
        arguments = scene_arguments(plan, sizes("16:9", [360]), SceneSettings(), {"360p": tmp_path / "o.mp4"})
        graphs.append(arguments[arguments.index("-filter_complex") + 1])
    graphs.append(fade_graph(14, 30, "fade"))
    played = Music("film.mp4", source, source.audio_tracks[0], -6.0, duck=True)
    graphs += [mix_graph(replace(played, duck=duck), Fraction(4), 0.0) for duck in (True, False)]

    graphs += [",".join(fill_steps(source, 64, 64)), ",".join(watermark_steps(Watermark(), 16, 16))]

    assert set().union(*map(names_in, graphs)) == tools.FILTERS


def names_in(graph: str) -> set[str]:
    """Return the names of a graph's filters."""
    plain = re.sub(r"'[^']*'", "", re.sub(r"\\.", "", graph))
    plain = re.sub(r"\[[^\]]*\]", "", plain)
    return {part.partition("=")[0] for part in re.split("[;,]", plain) if part}
