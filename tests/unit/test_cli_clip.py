"""How `clip` understands its options, and which files it replaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reelmill.cli.clip import folders_for, gather_params, read_cutting, read_texts
from reelmill.cli.results import clear_earlier
from reelmill.errors import ParamsInvalid
from reelmill.pipelines.clips.params import ClipsParams


def gathered(params: str | None = None, every: float | None = None, **look: Any) -> dict[str, Any]:
    return gather_params(params, cutting={"duration_s": every}, text=look)


def test_without_options_the_pipelines_own_defaults_hold() -> None:
    assert gathered() == {}
    assert ClipsParams.model_validate(gathered()) == ClipsParams()


def test_every_option_becomes_its_parameter() -> None:
    params = gathered(every=2.5, text="Hi", position="top", size_pct=9.0, outline_color="none", box_color="#445566")

    checked = ClipsParams.model_validate(params)
    assert checked.cutting.duration_s == 2.5
    assert checked.text is not None
    text = checked.text
    assert (text.text, text.position, text.size_pct) == ("Hi", "top", 9.0)
    assert (text.outline_color, text.box_color) == (None, "#445566")


def test_options_win_over_params_and_leave_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text(
        json.dumps({"cutting": {"duration_s": 7}, "text": {"text": "a", "size_pct": 3}, "video": {"crf": 30}})
    )

    params = gathered(f"@{file}", every=4.0, text="b")

    assert params == {"cutting": {"duration_s": 4.0}, "text": {"text": "b", "size_pct": 3}, "video": {"crf": 30}}


@pytest.mark.req("B-02", "B-04")
def test_ways_of_cutting_and_texts_in_a_file(tmp_path: Path) -> None:
    assert read_cutting(None, None) == {}
    assert read_cutting("10-30", None) == {"kind": "random", "min_s": 10, "max_s": 30}
    cuts = [{"start_s": 12.5, "end_s": 20}, {"start_s": 95, "end_s": None}]
    assert read_cutting(None, ["12.5-20", "95-"]) == {"kind": "manual", "cuts": cuts}
    lines = tmp_path / "texts.txt"
    lines.write_text("one\n\ntwo\\nlines\n")
    assert read_texts(lines) == {"strategy": "unique_for_all", "texts": ["one", None, "two\nlines"]}


@pytest.mark.parametrize(
    ("random", "cuts"), [("10", None), ("-", None), ("a-b", None), (None, ["5"]), ("1-2", ["3-4"])]
)
def test_spans_that_cant_be_read_are_refused(random: str | None, cuts: list[str] | None) -> None:
    with pytest.raises(ParamsInvalid):
        read_cutting(random, cuts)


@pytest.mark.parametrize("given", ["{", "[1]", "@/does/not/exist", '"text"'])
def test_params_that_cant_be_read_are_refused(given: str) -> None:
    with pytest.raises(ParamsInvalid, match="--params"):
        gathered(given)


def test_each_file_gets_a_folder_of_its_own() -> None:
    files = [Path("a/x.mp4"), Path("b/x.mp4"), Path("y.mkv")]

    assert folders_for(files[:1], Path("out")) == [Path("out")]
    assert folders_for(files[:1], None) == [Path("x-clips")]
    assert folders_for(files, None) == [Path("x-clips"), Path("x-clips-2"), Path("y-clips")]
    assert folders_for(files, Path("out")) == [Path("out/x"), Path("out/x-2"), Path("out/y")]


def test_only_files_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    names = ["clip-0001.mp4", "clip-0002.mp4", "clip-0002.jpg", "notes.txt", "clip-0009.mp4"]
    for name in names:
        (tmp_path / name).write_text("x")
    listed = [{"name": "clip-0001.mp4"}, {"name": "clip-0002.mp4"}, {"name": "../outside.mp4"}]
    outside = tmp_path.parent / "outside.mp4"
    outside.write_text("mine")
    (tmp_path / "manifest.json").write_text(json.dumps({"clips": listed}))

    clear_earlier(tmp_path, {"clip-0001.mp4", "manifest.json"})

    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"clip-0001.mp4", "notes.txt", "clip-0009.mp4", "manifest.json"}
    assert outside.exists()


@pytest.mark.parametrize("manifest", ["", "[]", '{"clips": 3}', '{"clips": [7]}'])
def test_a_manifest_of_somebody_else_removes_nothing(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "clip-0001.mp4").write_text("x")

    clear_earlier(tmp_path, set())

    assert (tmp_path / "clip-0001.mp4").exists()
