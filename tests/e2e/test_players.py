"""A smart clip, with copied and new pictures in one file, plays wherever people play it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from media_sources import make_source
from players import decoded_by_the_systems, played
from reelmill.media import (
    ClipPlan,
    ClipSettings,
    TextStyle,
    draw,
    encode_clip,
    find_ffmpeg,
    layout,
    output_size,
    pieces,
    probe,
    render_clip,
)

FFMPEG = find_ffmpeg()


@pytest.mark.req("B-03")
def test_a_smart_clip_plays_in_chromium_and_in_an_older_ffmpeg(tmp_path: Path) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=9, width=320, height=180, more=("-g", "25", "-preset", "medium"))
    source = probe(str(film), scratch=tmp_path)
    picture = draw(layout("Plays", TextStyle(size_pct=16), *output_size(source)), tmp_path / "text.png")
    plan = ClipPlan(13, 215, picture, ClipSettings(threads=1), (80, 120))
    made = render_clip(str(film), source, plan, tmp_path / "smart.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    assert made.reason is None
    whole = encode_clip(str(film), source, plan, tmp_path / "whole.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    assert int(decoded_by_the_systems(made.path).split(".")[0].strip("n")) >= 5

    # Just behind each seam, in the middle of a frame, so that rounding doesn't choose another one.
    seams = [piece.start_frame - plan.start_frame for piece in pieces(source, plan)[1:]]
    assert len(seams) >= 3
    moments = [(seam + 0.5) / 25 for seam in seams] + [(seam - 0.5) / 25 for seam in seams]
    shown = played(made.path, moments)
    assert (shown.width, shown.height, shown.corrupted) == (320, 180, 0)
    assert shown.duration == pytest.approx(202 / 25, abs=0.03)
    assert shown.at == pytest.approx(shown.duration, abs=0.1)
    wanted = played(whole.path, moments)
    for moment, one, other in zip(moments, shown.pictures, wanted.pictures, strict=True):
        off = np.abs(np.array(one) - np.array(other)).mean()
        assert off < 3, f"at {moment:.2f} s the picture is another by {off:.1f} levels"
