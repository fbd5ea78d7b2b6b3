"""What a user may ask of `clips`. API, CLI, docs and UI are made from this schema."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic.json_schema import SkipJsonSchema

from reelmill.jobs.texts import MAX_CHARS, READING_CPS
from reelmill.media.codecs import Codec
from reelmill.media.contrast import Legibility
from reelmill.media.graphs import Aspect, Fit, Motion
from reelmill.media.segments import Tail
from reelmill.media.styles import PRESETS as TEXT_PRESETS
from reelmill.media.styles import Accent, Align, BoxShape, Position, SafeName
from reelmill.pipelines.declared import Declared, PresetName
from reelmill.pipelines.measuring import SILENCE_DB, SILENCE_S

MAX_CUTS = 10_000  #: more are never planned; how many steps a job may have is a setting
MAX_SEED = 2**53 - 1  #: JSON numbers are exact up to here in every language

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=5000)]
LOOK_NAME = r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$"
LookName = Annotated[str, StringConstraints(pattern=LOOK_NAME)]
FontFile = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}\.[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Seconds = Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)]
Moment = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


# ── where to cut ──────────────────────────────────────────────────────────────────────────────


class FixedCutting(Declared):
    """Equal lengths."""

    kind: Literal["fixed"] = Field("fixed", description="Equal lengths.")
    duration_s: Seconds = Field(30.0, description="Length of a clip in seconds.")
    tail: Tail = Field("keep", description="A shorter last clip is kept, merged into the one before, or dropped.")
    tail_below_s: Seconds | None = Field(
        None, description="Only a last clip shorter than this, in seconds, is merged or dropped; null: than duration_s."
    )


class RandomCutting(Declared):
    """Random lengths: the same seed gives the same cuts, on any machine."""

    kind: Literal["random"] = Field(description="Random lengths from a seed.")
    min_s: Seconds = Field(10.0, description="Shortest clip in seconds; a rest at the end may be shorter.")
    max_s: Seconds = Field(30.0, description="Longest clip in seconds.")
    seed: int = Field(
        default_factory=lambda: secrets.randbelow(MAX_SEED + 1),
        ge=0, le=MAX_SEED, description="Decides the lengths; made and told by the server if not given.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _ordered(self) -> RandomCutting:
        if self.min_s > self.max_s:
            raise ValueError(f"min_s, {self.min_s:g}, must not be more than max_s, {self.max_s:g}")
        return self


class Cut(Declared):
    """One span of the video."""

    start_s: Moment = Field(description="Begin, in seconds from the first frame.")
    end_s: Moment | None = Field(None, description="End in seconds, not shown any more; null: the video's end.")

    @model_validator(mode="after")
    def _ordered(self) -> Cut:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s, {self.end_s:g}, must be more than start_s, {self.start_s:g}")
        return self


class ManualCutting(Declared):
    """A list of cuts, in any order; they may overlap."""

    kind: Literal["manual"] = Field(description="A list of cuts; they may overlap.")
    cuts: list[Cut] = Field(min_length=1, max_length=2000, description="The cuts, one clip each, in their order.")


class ScenesCutting(Declared):
    """A clip for each shot; every frame is looked at first."""

    kind: Literal["scenes"] = Field(description="A clip for each shot.")
    min_s: Seconds = Field(1.0, description="A shot shorter than this, in seconds, belongs to the clip before.")
    max_s: Seconds | None = Field(None, description="A longer shot is divided into equal lengths; null: never.")

    @model_validator(mode="after")
    def _ordered(self) -> ScenesCutting:
        return _checked_lengths(self)


class SilenceCutting(Declared):
    """Cut in the middle of pauses; the sound is listened to first."""

    kind: Literal["silence"] = Field(description="Cut in the pauses of the sound.")
    min_s: Seconds = Field(2.0, description="Shortest clip in seconds: nearer pauses are no cuts.")
    max_s: Seconds | None = Field(None, description="A longer clip is divided into equal lengths; null: never.")
    pause_s: Seconds = Field(SILENCE_S, le=60, description="Shortest pause in seconds.")
    level_db: float = Field(
        SILENCE_DB, ge=-90, le=-10, allow_inf_nan=False, description="Sound below this level, in dB, is a pause."
    )

    @model_validator(mode="after")
    def _ordered(self) -> SilenceCutting:
        return _checked_lengths(self)


class HighlightsCutting(Declared):
    """The most lively spans, best first; every frame and all the sound are measured first."""

    kind: Literal["highlights"] = Field(description="The most lively spans, best first.")
    count: int = Field(5, ge=1, le=200, description="How many clips, at most.")
    min_s: Seconds = Field(3.0, le=600, description="Shortest clip in seconds.")
    max_s: Seconds = Field(15.0, le=600, description="Longest clip in seconds.")

    @model_validator(mode="after")
    def _ordered(self) -> HighlightsCutting:
        return _checked_lengths(self)


MeasuredCutting = ScenesCutting | SilenceCutting | HighlightsCutting  #: known only when the film was measured
AnyMeasured = TypeVar("AnyMeasured", bound=MeasuredCutting)


def _checked_lengths(cutting: AnyMeasured) -> AnyMeasured:
    if cutting.max_s is not None and cutting.min_s > cutting.max_s:
        raise ValueError(f"min_s, {cutting.min_s:g}, must not be more than max_s, {cutting.max_s:g}")
    return cutting


def _kind_of(value: Any) -> str:
    """Return which way of cutting is meant; `fixed` if it isn't said."""
    return str(value.get("kind", "fixed") if isinstance(value, dict) else getattr(value, "kind", "fixed"))


Cutting = Annotated[
    Annotated[FixedCutting, Tag("fixed")]
    | Annotated[RandomCutting, Tag("random")]
    | Annotated[ManualCutting, Tag("manual")]
    | Annotated[ScenesCutting, Tag("scenes")]
    | Annotated[SilenceCutting, Tag("silence")]
    | Annotated[HighlightsCutting, Tag("highlights")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_kind",
        custom_error_message="kind must be fixed, random, manual, scenes, silence or highlights",
    ),
]


# ── the text ──────────────────────────────────────────────────────────────────────────────────

PLACEHOLDERS = "`{index}`, `{total}`, `{start}` and `{name}` are filled in for each clip"


class TextLook(Declared):
    """How a text looks, and when it is seen."""

    preset: LookName | None = Field(
        None,
        description="A look to begin with; what else is given changes it. Built in are "
        + ", ".join(f"`{name}`" for name in TEXT_PRESETS)
        + "; a tenant has its own besides.",
    )
    position: Position = Field("bottom", description="Where the text stands in the picture.")
    align: Align = Field("auto", description="How its lines stand to each other; `auto`: as the position is.")
    safe_area: SafeName = Field(
        "auto",
        description="What is kept free of text besides the margin: what an app covers with its own signs. `auto`: what "
        "is free in all three apps for upright pictures, else `title`, 5 % at each edge.",
    )
    from_s: Moment = Field(0.0, description="When it comes up, in seconds from the clip's beginning.")
    until_s: Moment | None = Field(None, description="When it goes, in seconds from the clip's beginning; null: never.")
    motion: Motion = Field("none", description="How it comes, and goes if it does before the clip ends.")
    motion_s: float = Field(0.4, ge=0.1, le=2, description="How long coming takes, and going, in seconds.")
    font: LookName | None = Field(
        None,
        description="A font of one's own by its name; null: Noto Sans. Others help out where it lacks a character.",
    )
    #: which upload the name stood for when the job was made: set by the server, whatever is given
    font_file: SkipJsonSchema[FontFile | None] = None
    weight: int = Field(600, ge=100, le=900, description="Weight of the letters; the nearest that the font has.")
    size_pct: float = Field(6.0, ge=1, le=50, description="Font size in percent of the picture's shorter side.")
    min_size_pct: float = Field(2.5, ge=1, le=50, description="The text is shrunk to fit, but not below this size.")
    color: Color = Field("#FFFFFF", description="Colour of the letters.")
    outline_color: Color | None = Field("#000000", description="Colour of the outline; null for none.")
    outline_pct: float = Field(8.0, ge=0, le=25, description="Width of the outline in percent of the font size.")
    shadow_pct: float = Field(
        0.0, ge=0, le=50, description="Softness of the shadow in percent of the font size; 0: none."
    )
    shadow_opacity: float = Field(0.7, ge=0, le=1, description="Opacity of the shadow.")
    box_color: Color | None = Field(None, description="Colour of the box behind the text; null for none.")
    box_opacity: float = Field(0.6, ge=0, le=1, description="Opacity of the box.")
    box_padding_pct: float = Field(30.0, ge=0, le=200, description="Padding of the box in percent of the font size.")
    box_radius_pct: float = Field(20.0, ge=0, le=200, description="Radius of its corners in percent of the font size.")
    box_shape: BoxShape = Field("block", description="`block`: one box; `lines`: one for each line.")
    accent: Accent = Field(
        "none",
        description="A `bar` at the side, a short rule below (`underline`), or a quotation mark above (`quote`).",
    )
    accent_color: Color = Field("#FF5A36", description="Colour of the accent.")
    margin_pct: float = Field(5.0, ge=0, le=40, description="Distance from the edges in percent of the shorter side.")
    max_width_pct: float = Field(90.0, ge=10, le=100, description="Widest line in percent of the picture's width.")
    legibility: Legibility = Field(
        "auto",
        description="What is done where the letters' contrast to the film is below 4.5:1: a `plate` behind them or an "
        "`outline` around them; `auto`: as it suits the look; `off`: it is only told.",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """Begin with the preset's values; what is given wins."""
        name = given.get("preset") if isinstance(given, dict) else None
        if isinstance(name, str) and name in TEXT_PRESETS:
            return {**preset_values(name), **given}
        return given

    @model_validator(mode="after")
    def _ordered(self) -> TextLook:
        if self.until_s is not None and self.until_s <= self.from_s:
            raise ValueError(f"until_s, {self.until_s:g}, must be more than from_s, {self.from_s:g}")
        return self


#: what a preset tells: a look, not a time, and a font by its name alone
PRESET_FIELDS = frozenset(TextLook.model_fields) - {"preset", "from_s", "until_s", "font_file"}


def preset_values(name: str) -> dict[str, Any]:
    """Return a built-in preset's values."""
    style = TEXT_PRESETS[name]
    return {field: getattr(style, field) for field in PRESET_FIELDS if hasattr(style, field)}


class OneForAll(TextLook):
    """The same text on every clip."""

    strategy: Literal["one_for_all"] = Field("one_for_all", description="The same text on every clip.")
    text: Text = Field(description=f"The text; line breaks are kept, {PLACEHOLDERS}.")


class UniqueForAll(TextLook):
    """A text of its own for each clip."""

    strategy: Literal["unique_for_all"] = Field(description="A text of its own for each clip.")
    texts: list[Text | None] = Field(
        min_length=1, max_length=2000,
        description=f"One text for each clip, in order; null for a clip without; {PLACEHOLDERS}.",
    )  # fmt: skip


class BaseVary(TextLook):
    """Variations of one text, each clip its own."""

    strategy: Literal["base_vary"] = Field(description="Variations of one text, each clip its own.")
    text: Text = Field(
        description=f"The text that is varied; `{{Hello|Welcome}}` gives alternatives, {PLACEHOLDERS} and kept."
    )
    language: str | None = Field(
        None, pattern=r"^[a-z]{2,3}$", description="Its language by ISO 639, like `en`; null: told from the text."
    )
    required_words: list[Word] = Field(default_factory=list, max_length=20, description="Each text has all of these.")
    forbidden_words: list[Word] = Field(default_factory=list, max_length=100, description="No text has any of these.")
    max_chars: int = Field(MAX_CHARS, ge=1, le=1000, description="Most characters of a text, placeholders filled in.")
    reading_cps: float | None = Field(
        READING_CPS, ge=1, le=100,
        description="Characters a second that viewers can read: a text is no longer than its clip shows it; null: "
        "any length. It is waived, with a warning, where the given text itself is too long for a clip.",
    )  # fmt: skip
    notes: str | None = Field(
        None, max_length=2000, description="Background for the model, like what the film is about. No instructions."
    )
    tell_model: list[Literal["name", "labels", "shots"]] = Field(
        default_factory=lambda: ["name"],  # type: ignore[arg-type]
        description="What the model may know of the video: its file's name, its labels, and, if an analysis has found "
        "them, how long each clip's shots are and how much moves in them.",
    )
    made_by: Literal["auto", "model", "local"] = Field(
        "auto",
        description="`auto`: the server's text model, and local rules for what it gets wrong. `model`: it alone, "
        "or the job fails. `local`: rules alone; nothing leaves the server.",
    )
    variant: int = Field(0, ge=0, le=MAX_SEED, description="Another number gives other texts of the model.")


def _strategy_of(value: Any) -> str:
    """Return which strategy is meant; `one_for_all` if it isn't said."""
    usual = "one_for_all"
    return str(value.get("strategy", usual) if isinstance(value, dict) else getattr(value, "strategy", usual))


TextParams = Annotated[
    Annotated[OneForAll, Tag("one_for_all")]
    | Annotated[UniqueForAll, Tag("unique_for_all")]
    | Annotated[BaseVary, Tag("base_vary")],
    Discriminator(
        _strategy_of,
        custom_error_type="unknown_strategy",
        custom_error_message="strategy must be one_for_all, unique_for_all or base_vary",
    ),
]


# ── how it is written ─────────────────────────────────────────────────────────────────────────


class VideoParams(Declared):
    """How the clips are written: MP4 with AAC sound."""

    codec: Codec = Field("h264", description="Codec of the picture.")
    rendering: Literal["smart", "full"] = Field(
        "smart",
        description="`smart`: what has no text and no other change is copied bit by bit where the source allows it, "
        "the rest is encoded. `full`: everything is encoded.",
    )
    preset: PresetName = Field(
        "veryfast", description="The encoder's effort, by x264's names: slower ones make smaller files."
    )
    crf: int | None = Field(
        None, ge=0, le=63,
        description="Constant rate factor: lower is better and larger. null: 23 for h264, 26 for h265, 32 for av1, "
        "33 for vp9; h264 and h265 end at 51.",
    )  # fmt: skip
    width: int | None = Field(None, ge=16, le=8192, multiple_of=2, description="Width in pixels; null: as the source.")
    height: int | None = Field(
        None, ge=16, le=8192, multiple_of=2, description="Height in pixels; null: as the source."
    )
    fit: Fit = Field(
        "contain",
        description="`contain`: within width and height, never enlarged. `cover`: exactly this size, the rest is cut "
        "off. `pad`: exactly this size, with black bars.",
    )
    aspect: Aspect = Field(
        "source",
        description="Cuts the picture to this shape, as large as it goes: `9:16` for phones. `width` or `height` may "
        "make it smaller.",
    )
    focus_x: float = Field(0.5, ge=0, le=1, description="What of the width an aspect keeps: 0 its left, 1 its right.")
    focus_y: float = Field(0.5, ge=0, le=1, description="What of the height an aspect keeps: 0 its top, 1 its bottom.")
    hdr: Literal["sdr", "keep"] = Field(
        "sdr", description="HDR sources are mapped to SDR, or kept: in h265, av1 or vp9 with 10 bits."
    )
    deinterlace: Literal["auto", "off"] = Field("auto", description="Interlaced sources are made progressive.")
    hardware: bool = Field(
        False, description="Use the machine's hardware encoder, if a trial frame came out of it. Its bytes may differ."
    )
    audio_kbps: int = Field(128, ge=32, le=512, description="Bit rate of stereo sound in kbit/s.")
    audio_track: int = Field(1, ge=1, le=64, description="Which of the source's sound tracks, from 1.")
    audio_channels: Literal["stereo", "source"] = Field(
        "stereo", description="More than two channels are mixed down, or kept. Mono stays mono."
    )

    @model_validator(mode="after")
    def _fitting(self) -> VideoParams:
        if self.hdr == "keep" and self.codec == "h264":
            raise ValueError("HDR can't be kept in h264: choose h265, av1 or vp9 as codec, or sdr as hdr")
        if self.fit != "contain" and not (self.width and self.height):
            raise ValueError(f"for fit {self.fit}, both width and height are needed")
        if self.codec in ("h264", "h265") and (self.crf or 0) > 51:
            raise ValueError(f"crf of {self.codec} ends at 51")
        return self


class ClipsParams(Declared):
    """Cut a video into clips and put a text on each."""

    cutting: Cutting = Field(default_factory=FixedCutting, description="How the source is cut.")
    text: TextParams | None = Field(None, description="The text on the clips; null for none.")
    video: VideoParams = Field(default_factory=VideoParams, description="How the clips are written.")
