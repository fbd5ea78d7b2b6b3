"""The one runner: whatever happens, it says what, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

import reelmill.media
from processes import children, name_of
from reelmill.errors import ChildCrashed, DeadlineExceeded, EncodeFailed, ResourceLimit, Stopped, ToolMissing
from reelmill.media import Limits, Progress, find_ffmpeg, input_arguments, run, version
from reelmill.media.children import metered
from reelmill.media.ffmpeg import microseconds

FFMPEG = find_ffmpeg()
ENDLESS = ("-re", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-f", "null", "-")
BUSY = ("-f", "lavfi", "-i", "mandelbrot=size=640x360", "-f", "null", "-")


def later(seconds: float, do: object) -> threading.Timer:
    timer = threading.Timer(seconds, do)  # type: ignore[arg-type]
    timer.start()
    return timer


def wait_for_ffmpeg() -> psutil.Process:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for child in children():
            if "ffmpeg" in (name_of(child) or ""):
                return child
        time.sleep(0.01)
    raise AssertionError("ffmpeg didn't start")


def test_a_run_reports_progress_and_what_it_used(tmp_path: Path) -> None:
    told: list[Progress] = []
    finished = run(
        ["-f", "lavfi", "-i", "testsrc2=size=320x180:duration=2:rate=25", "-f", "null", "-"],
        ffmpeg=FFMPEG, scratch=tmp_path, on_progress=told.append,
    )  # fmt: skip
    assert told[-1].frame == 50 and told[-1].out_s == pytest.approx(2, abs=0.05)
    assert 0 < finished.cpu_s < 10 and 0 < finished.wall_s < 10
    assert finished.argv[0] == str(FFMPEG) and "-nostdin" in finished.argv


def test_stop_ends_ffmpeg_at_once(tmp_path: Path) -> None:
    stop = threading.Event()
    timer = later(0.5, stop.set)
    began = time.monotonic()
    with pytest.raises(Stopped):
        run(ENDLESS, ffmpeg=FFMPEG, scratch=tmp_path, stop=stop)
    timer.join()
    assert time.monotonic() - began < 0.5 + 3.5
    assert not children()


def test_a_child_that_ignores_sigterm_is_killed_within_five_seconds(tmp_path: Path) -> None:
    deaf = tmp_path / "ffmpeg"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\nsleep 60 &\nwhile true; do sleep 1; done\n")
    deaf.chmod(0o755)
    stop = threading.Event()
    timer = later(0.3, stop.set)
    began = time.monotonic()
    with pytest.raises(Stopped):
        run([], ffmpeg=deaf, scratch=tmp_path, stop=stop)
    timer.join()
    assert time.monotonic() - began < 5.3
    assert not children()


def test_the_deadline_ends_ffmpeg(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"0\.5 s"):
        run(ENDLESS, ffmpeg=FFMPEG, scratch=tmp_path, limits=Limits(deadline_s=0.5))
    assert time.monotonic() - began < 5
    assert not children()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_from_outside_is_a_crash(tmp_path: Path, number: signal.Signals) -> None:
    killer = threading.Thread(target=lambda: (time.sleep(0.2), wait_for_ffmpeg().send_signal(number)))
    killer.start()
    with pytest.raises(ChildCrashed):
        run(ENDLESS, ffmpeg=FFMPEG, scratch=tmp_path)
    killer.join()
    assert not children()


def test_what_children_use_is_counted_also_of_those_that_fail(tmp_path: Path) -> None:
    with metered() as used_s:
        assert used_s() == 0
        with pytest.raises(ResourceLimit):
            run(BUSY, ffmpeg=FFMPEG, scratch=tmp_path, limits=Limits(cpu_s=1))
    assert used_s() >= 0.9


def test_processor_time_is_limited(tmp_path: Path) -> None:
    with pytest.raises(ResourceLimit, match="processor time"):
        run(BUSY, ffmpeg=FFMPEG, scratch=tmp_path, limits=Limits(cpu_s=1))
    assert not children()


@pytest.mark.req("E-08")
def test_memory_is_limited_by_what_is_really_held(tmp_path: Path) -> None:
    with pytest.raises(ResourceLimit, match=r"ffmpeg.* held [0-9]+ MiB of memory; 1 are allowed"):
        run(BUSY, ffmpeg=FFMPEG, scratch=tmp_path, limits=Limits(resident_bytes=1 << 20))
    assert not children()


def test_file_size_is_limited(tmp_path: Path) -> None:
    words = [*BUSY[:4], "-c:v", "rawvideo", "-f", "rawvideo", str(tmp_path / "big")]
    with pytest.raises(ResourceLimit, match="file size"):
        run(words, ffmpeg=FFMPEG, scratch=tmp_path, limits=Limits(file_size_bytes=1 << 20))
    assert (tmp_path / "big").stat().st_size <= 1 << 20


def test_a_failure_says_why_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EncodeFailed) as caught:
        run(["-i", str(tmp_path / "none.mp4"), "-f", "null", "-"], ffmpeg=FFMPEG, scratch=tmp_path)
    assert "No such file" in caught.value.detail and "\n" not in caught.value.detail
    assert caught.value.extra["stderr"] and caught.value.extra["command"][0] == str(FFMPEG)


def test_a_loud_child_never_blocks_and_only_the_end_is_kept(tmp_path: Path) -> None:
    loud = tmp_path / "ffmpeg"
    loud.write_text("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' 'x' >&2\necho >&2\necho 'the end' >&2\nexit 1\n")
    loud.chmod(0o755)
    with pytest.raises(EncodeFailed, match="the end") as caught:
        run([], ffmpeg=loud, scratch=tmp_path)
    assert len(caught.value.extra["stderr"]) <= 16 << 10


def test_an_error_of_the_progress_callback_ends_ffmpeg(tmp_path: Path) -> None:
    def broken(_: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(ENDLESS, ffmpeg=FFMPEG, scratch=tmp_path, on_progress=broken)
    assert not children()


def test_the_child_gets_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    telling = tmp_path / "ffmpeg"
    telling.write_text("#!/bin/sh\nenv >&2\nexit 1\n")
    telling.chmod(0o755)
    with pytest.raises(EncodeFailed) as caught:
        run([], ffmpeg=telling, scratch=tmp_path)
    assert "s3cret" not in caught.value.extra["stderr"]


def test_ffmpeg_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from reelmill.media import *;"
        f"run({ENDLESS!r}, ffmpeg=find_ffmpeg(), scratch=Path({str(tmp_path)!r}))"
    )
    source = str(Path(reelmill.media.__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": source}) as parent:
        try:
            child = wait_for_ffmpeg()
        finally:
            parent.kill()
    deadline = time.monotonic() + 3
    while child.is_running() and name_of(child) is not None:
        assert time.monotonic() < deadline, "ffmpeg outlived its parent"
        time.sleep(0.02)


@pytest.mark.parametrize("said", ["ffmpeg version 8.1.2 Copyright", "ffmpeg version 5.1.9-0+deb12u1", "hello"])
def test_an_old_or_other_program_is_refused(tmp_path: Path, said: str) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    with pytest.raises(ToolMissing):
        find_ffmpeg(str(program))


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolMissing, match="/nowhere/ffmpeg"):
        find_ffmpeg("/nowhere/ffmpeg")
    assert version(FFMPEG)[0] in "n123456789"


def test_inputs_are_walled_in() -> None:
    path = input_arguments("film with 'quotes'.mp4", "mov", seek_s=Fraction(1, 3))
    assert path[path.index("-protocol_whitelist") + 1] == "file"
    assert path[path.index("-format_whitelist") + 1] == path[path.index("-f") + 1] == "mov"
    assert path[path.index("-ss") + 1] == "0.333334"
    assert path[-1].startswith("file:/") and path[-1].endswith("film with 'quotes'.mp4")
    url = input_arguments("https://example.org/film.mp4?x=1", "matroska")
    assert url[url.index("-protocol_whitelist") + 1] == "http,https,tcp,tls"
    assert Path(url[url.index("-ca_file") + 1]).is_file()
    for demuxer in ("hls", "concat", "lavfi", "image2", ""):
        with pytest.raises(ValueError, match="demuxers"):
            input_arguments("a", demuxer)


def test_microseconds_are_never_early() -> None:
    assert microseconds(Fraction(1, 3)) == "0.333334"
    assert microseconds(Fraction(-1, 3)) == "-0.333333"
    assert microseconds(Fraction(5)) == "5.000000"


def test_everything_named_in_all_is_there() -> None:
    names = reelmill.media.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(reelmill.media, name) for name in names)
