"""What a user may ask of `generate`. API, CLI, docs and UI are made from this schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from reelmill.media.scenes import Aspect, Motion, Transition
from reelmill.pipelines.declared import Declared, PresetName

MOST_SCENES = 400
Color = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
VideoId = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{36}$")]
Spoken = Annotated[str, StringConstraints(min_length=1, max_length=5000)]
QualityLevel = Literal["360p", "480p", "720p", "1080p"]


class ColorBackground(Declared):
    """One colour."""

    kind: Literal["color"] = "color"
    color: Color = Field(description="#RRGGBB.")


class GradientBackground(Declared):
    """Colours that go over into one another."""

    kind: Literal["gradient"] = "gradient"
    colors: list[Color] = Field(min_length=2, max_length=4, description="#RRGGBB, from the top.")
    angle: Seconds = Field(0.0, ge=-360, le=360, description="Degrees by which the direction is turned; 0 is down.")


class ImageBackground(Declared):
    """An uploaded picture, or one out of an uploaded video, which is moved over slowly."""

    kind: Literal["image"] = "image"
    video_id: VideoId = Field(description="An uploaded picture (PNG, JPEG, WebP) or video of the same tenant.")
    at_s: Seconds = Field(
        0.0, ge=0, le=86_400, description="Of a video: time of the picture in seconds, to the nearest key frame."
    )
    motion: Motion = Field("zoom_in", description="How the picture is moved over (Ken Burns).")


class VideoBackground(Declared):
    """An uploaded video, cut to fill the picture, without its sound; after its end its last frame stands."""

    kind: Literal["video"] = "video"
    video_id: VideoId = Field(description="A video of the same tenant.")
    start_s: Seconds = Field(0.0, ge=0, le=86_400, description="Where it begins, in seconds from its first frame.")


Background = Annotated[
    ColorBackground | GradientBackground | ImageBackground | VideoBackground, Field(discriminator="kind")
]


class Scene(Declared):
    """One scene."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = Field(
        None, description="What stands on the picture, large."
    )
    narration: Spoken | None = Field(None, description="What is spoken, and shown as captions sentence by sentence.")
    background: Background | None = Field(None, description="Null: a gradient, chosen by the scene's words.")
    duration_s: Seconds | None = Field(
        None, ge=0.5, le=600, description="Length in seconds; never shorter than the narration. Null: as long as that, "
        "or as it takes to read the text.",
    )  # fmt: skip
    text_position: Literal["top", "center", "bottom"] = Field("center", description="Where the text stands.")


class MusicParams(Declared):
    """Music under the film: from its beginning, repeated as often as needed, faded out at the end."""

    video_id: VideoId = Field(description="An uploaded video of the same tenant, whose sound it is.")
    volume_db: Seconds = Field(-14.0, ge=-60, le=0, description="How much quieter it is made, in dB.")
    duck: bool = Field(True, description="Whether it steps back while somebody speaks.")


class GenerateParams(Declared):
    """Make a film out of scenes, a script or a topic: pictures, narration, captions and music."""

    scenes: list[Scene] | None = Field(None, min_length=1, max_length=MOST_SCENES, description="The scenes, in order.")
    script: Annotated[str, StringConstraints(min_length=1, max_length=50_000)] | None = Field(
        None, description="Plain text instead of scenes: each paragraph becomes one, long ones several; a line that "
        "begins with `#` is the next scene's text.",
    )  # fmt: skip
    topic: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = Field(
        None, description="What a text model shall write a script about; needs REELMILL_TEXT_MODEL."
    )
    topic_scenes: int = Field(5, ge=1, le=40, description="How many scenes a script on a topic has.")
    title: Annotated[str, StringConstraints(min_length=1, max_length=120)] | None = Field(
        None, description="The film's name. Null: taken from its first words."
    )
    aspect: Aspect = Field("16:9", description="Shape of the picture.")
    quality_levels: list[QualityLevel] = Field(
        default=["720p", "1080p"], min_length=1, max_length=4, description="Sizes by their shorter side in pixels."
    )
    frame_rate: Literal[24, 25, 30, 50, 60] = Field(30, description="Frames per second.")
    voice: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.+-]{1,64}$")] | None = Field(
        None, description="A name that the voice's engine knows (`en-us` or `de` for eSpeak NG, `alloy` for OpenAI)."
    )
    captions: Literal["both", "burnt", "webvtt", "none"] = Field(
        "both", description="The narration as text: in the picture, as a WebVTT file, both or neither."
    )
    pause_s: Seconds = Field(0.35, ge=0, le=5, description="Silence after each sentence, in seconds.")
    music: MusicParams | None = Field(None, description="Music under the film; null for none.")
    transition: Transition | Literal["none"] = Field("fade", description="From each scene to the next; `none` cuts.")
    transition_s: Seconds = Field(0.5, ge=0.1, le=2, description="Length of a transition, in seconds.")
    enable_streaming: bool = Field(
        False, description="Whether the film is packed for adaptive streaming (HLS), too, in all quality levels."
    )
    thumbnail_generation: bool = Field(True, description="Whether there is a poster.")
    retry_attempts: int | None = Field(
        None, ge=0, le=10, description="Further tries of a step after an error that may pass; null: as many as the "
        "server's REELMILL_MAX_RETRIES.",
    )  # fmt: skip
    cleanup_local_files: Literal[True] = Field(
        True, description="Temporary files are always removed; older clients say so here."
    )
    pipeline_version: Annotated[str, StringConstraints(max_length=20)] | None = Field(
        None, description="Another version than the server's is refused; null takes what there is."
    )
    crf: int = Field(21, ge=0, le=51, description="Constant rate factor of H.264: lower is better and larger.")
    preset: PresetName = Field("veryfast", description="The encoder's effort, by x264's names.")

    @model_validator(mode="after")
    def _fitting(self) -> GenerateParams:
        if sum(one is not None for one in (self.scenes, self.script, self.topic)) != 1:
            raise ValueError("exactly one of scenes, script and topic is needed")
        if len(set(self.quality_levels)) != len(self.quality_levels):
            raise ValueError("quality_levels has an entry twice")
        return self
