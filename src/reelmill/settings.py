"""All settings: environment variables `REELMILL_…`, read once, in wiring. Nothing else reads the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from reelmill.errors import SettingInvalid

GB = 1 << 30


def _networks(text: str) -> str:
    for part in text.split(","):
        ipaddress.ip_network(part.strip())
    return text


def _names(text: str) -> str:
    for name in filter(None, text.split(",")):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
            raise ValueError(f"{name!r} isn't a queue's name")
    return text


class Settings(BaseSettings):
    """One frozen value. A bad one fails at start, naming the variable and a good value."""

    model_config = SettingsConfigDict(env_prefix="REELMILL_", frozen=True, extra="ignore", populate_by_name=True)

    data: Path = Field(Path("reelmill-data"), description="Folder of the embedded server: database, objects, scratch.")
    database_url: str | None = Field(
        None,
        description="`sqlite:////path/file.db`, `postgresql://user:password@host/db`, or `dynamodb://table` with "
        "`?region=`, `endpoint=`, `hash_key=`. Default: in the folder.",
    )
    storage_url: str | None = Field(
        None,
        description="`file:///path`, or `s3://bucket/prefix` with `?endpoint=`, `public_endpoint=`, `region=`, "
        "`addressing=path` or `virtual`. Default: in the data folder.",
    )
    broker_url: str | None = Field(
        None,
        pattern=r"^(rediss?|amqps?|sqs)://.*$",
        description="`redis://host:6379/0` or `amqp://user:password@host:5672//`: Celery then wakes workers on all "
        "machines. Default: none; workers of other processes look by themselves.",
    )
    reuse: bool = Field(
        True,
        description="Whether a step takes over what an earlier one of the same tenant and the same digest has made.",
    )
    spool: str | None = Field(
        None,
        pattern=r"^\S",
        description="Folder that keeps finished files while storage is away, or `off`. Workers of other processes use "
        "it when an API sees the same folder. Default: `spool` in the data folder.",
    )
    disk_reserve_mb: int = Field(
        256,
        ge=0,
        le=1 << 20,
        description="Least free space, in MiB, of each disk that is written to: below it no step is begun.",
    )
    cors_origins: str = Field(
        "*",
        pattern=r"^(\*|https?://[^/\s,]+(,https?://[^/\s,]+)*)$",
        description="Web pages that may call the API with a key, and upload into an S3 bucket: `*`, or "
        "`https://one.example,https://two.example`.",
    )
    host: str = Field("127.0.0.1", description="Address to bind to; another than loopback needs an API key first.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/]+(/.*)?$",
        description="How clients reach the server, e.g. `https://video.example`.",
    )

    rate_limit: int = Field(
        1200,
        ge=0,
        le=1_000_000,
        description="Requests a minute for each key, and for each address without a valid one, in each process; "
        "so many may also come at once. 0: no limit.",
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] | None = Field(
        None,
        description="Addresses or networks of reverse proxies, like `10.0.0.1,192.168.0.0/24`: from these, "
        "`X-Forwarded-For` and `X-Forwarded-Proto` are believed. Default: from none.",
    )

    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=0, le=256, description="Steps at a time in this process."
    )
    queues: Annotated[str, AfterValidator(_names)] = Field(
        "",
        description="Which steps this process takes: names out of `cpu,gpu,io,llm`, or others that pipelines use. "
        "Default: all.",
    )
    memory_limit_mb: int = Field(
        0,
        ge=0,
        le=1 << 22,
        description="MiB. A worker that has grown beyond it ends its steps and begins anew; a media process beyond it "
        "fails its step. 0: no limit.",
    )
    threads: int = Field(1, ge=1, le=64, description="Encoder threads of one step; part of a step's digest.")
    ffmpeg: Path | None = Field(
        None, description="An ffmpeg ≥ 8.1.3 to use instead of the one that is installed with us."
    )
    fonts: Path | None = Field(
        None,
        description="A folder with fonts of one's own (.ttf, .otf), which texts name as `font`; on each machine that "
        "works. A font of emoji in colours draws all emoji.",
    )
    step_deadline_s: float = Field(6 * 3600.0, gt=0, description="Longest time for one step, in seconds.")

    lease_s: float = Field(60.0, ge=0.2, le=3600, description="A worker that is silent for so long loses its step.")
    heartbeat_s: float = Field(10.0, gt=0, le=600, description="How often a worker lengthens its leases.")
    watch_s: float = Field(1.0, gt=0, le=60, description="How often a worker looks whether its steps were cancelled.")
    sweep_s: float = Field(
        5.0, gt=0, le=600, description="How often lost leases, stalled jobs and old uploads are seen to."
    )
    poll_s: float = Field(
        30.0, gt=0, le=3600, description="How often an idle worker looks for work without being rung."
    )
    max_retries: int = Field(3, ge=0, le=20, description="Further tries of a step after a retryable error.")
    max_crashes: int = Field(3, ge=1, le=20, description="A step whose worker died so often fails its job.")
    backoff_s: float = Field(2.0, gt=0, le=600, description="Wait before the first retry; doubles each time.")
    max_steps: int = Field(2000, ge=1, le=100_000, description="Most steps a job may have.")
    grace_s: float = Field(
        30.0, ge=0, le=3600, description="When the server stops: time for running steps to end, or to be handed back."
    )

    upload_ttl_s: float = Field(86_400.0, gt=0, description="An upload not completed in so many seconds expires.")
    put_ttl_s: int = Field(900, ge=1, le=604_800, description="Life of a signed upload URL, in seconds.")
    get_ttl_s: int = Field(3600, ge=1, le=604_800, description="Life of a signed download URL, in seconds.")
    delivery: Literal["store", "api"] = Field(
        "store",
        description="How files reach those who take them: `store` redirects to signed URLs of the storage, `api` sends "
        "them through this server, for clients that can't reach the storage.",
    )
    accel: str | None = Field(
        None,
        pattern=r"^/\S*[^/\s]$",
        description="With files in a folder: the path by which nginx or Caddy in front finds the folder's `objects`, "
        "e.g. `/_files`; files then go out by `X-Accel-Redirect`. Default: we send them.",
    )
    stream_ttl_s: int = Field(
        14_400, ge=1, le=604_800, description="Life of a stream's URLs, in seconds: longer than the film."
    )
    pictures_mb: int = Field(
        256, ge=1, le=1 << 20, description="Most MiB on the disk for thumbnails in other sizes, made when asked for."
    )
    max_upload_bytes: int = Field(100 * GB, ge=1, description="Largest source, in bytes.")
    part_bytes: int = Field(
        16 << 20, ge=1 << 20, le=5 * GB, description="Size of the parts in which large uploads are sent, in bytes."
    )

    retain_sources_days: float = Field(
        0, ge=0, le=36_500, description="Days for which a source is kept after its upload. 0: for ever."
    )
    retain_outputs_days: float = Field(
        0, ge=0, le=36_500, description="Days for which a job's files are kept after its end. 0: for ever."
    )
    retain_events_days: float = Field(
        0, ge=0, le=36_500, description="Days for which a job's events are kept after its end. 0: for ever."
    )
    retain_audit_days: float = Field(
        0, ge=0, le=36_500, description="Days for which entries of the audit log are kept. 0: for ever."
    )
    undo_s: float = Field(
        86_400.0, ge=0, le=31_536_000, description="Seconds in which a deleted video can be restored."
    )
    quota_bytes: int = Field(
        0, ge=0, description="Most bytes that a tenant may store, unless set for it by itself. 0: no limit."
    )
    quota_jobs: int = Field(
        0, ge=0, description="Most jobs that a tenant may have in flight, unless set for it by itself. 0: no limit."
    )

    text_model: str | None = Field(
        None,
        pattern=r"^(local|(gemini|openai)/[\w.:@/-]{1,200})$",
        description="What varies texts: `gemini/NAME`, `openai/NAME` (any server that speaks OpenAI's API), or `local` "
        "for rules without a model. Default: Gemini when there is a key for it, else local rules.",
    )
    text_model_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+(/\S*)?$",
        description="Base URL of the text model's server, e.g. `http://127.0.0.1:11434/v1` for Ollama. "
        "Default: the provider's own.",
    )
    text_model_key: SecretStr | None = Field(
        None, min_length=1, description="Key for the server of an `openai/…` model, if it wants one."
    )
    gemini_api_key: SecretStr | None = Field(
        None,
        min_length=1,
        validation_alias=AliasChoices("REELMILL_GEMINI_API_KEY", "GEMINI_API_KEY"),
        description="Key for Gemini; needs `reelmill[gemini]`. `GEMINI_API_KEY` does, too.",
    )
    text_model_timeout_s: float = Field(
        30.0, gt=0, le=600, description="Longest time for one answer of the text model, in seconds; four are tried."
    )
    text_model_price: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?,\d+(\.\d+)?$",
        description="What a million tokens cost, those that are read and those that are written: `0.30,2.50`. "
        "Then costs are told beside tokens.",
    )

    voice: str | None = Field(
        None,
        pattern=r"^(off|espeak|piper(/[!-~]{1,400})?|(gemini|openai)/[A-Za-z0-9_.:@/-]{1,200})$",
        description="What speaks narrations: `espeak` (`reelmill[voice]`), `piper` (`reelmill[piper]`) or "
        "`piper/PATH.onnx`, `openai/MODEL` (any server with OpenAI's `/audio/speech`), `gemini/MODEL`, or `off`. "
        "Default: Piper if it is installed, else eSpeak NG, else none.",
    )
    voice_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+(/\S*)?$",
        description="Base URL of the voice's server, e.g. `http://127.0.0.1:8880/v1`. Default: the provider's own.",
    )
    voice_key: SecretStr | None = Field(
        None, min_length=1, description="Key for the voice's server, if it wants one; Gemini also takes its own."
    )
    voice_timeout_s: float = Field(
        60.0, gt=0, le=600, description="Longest wait for an answer of the voice's server, in seconds."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="`auto`: text on a terminal, else JSON.")

    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Opens `/metrics` by `Authorization: Bearer TOKEN`; a key of the tenant `default` with the scope "
        "`admin` does, too.",
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port on which metrics and health are served without a key. Default: on none."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics port; let only Prometheus reach it.")
    otlp_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("REELMILL_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        pattern=r"^https?://[^/]+(/.*)?$",
        description="Collector that takes traces by OTLP over HTTP, e.g. `http://127.0.0.1:4318`; needs "
        "`reelmill[otel]`. `OTEL_EXPORTER_OTLP_ENDPOINT` does, too. Default: no traces.",
    )

    @property
    def database(self) -> str:
        """The database's URL, with its default filled in."""
        return self.database_url or f"sqlite:///{(self.data / 'reelmill.db').resolve()}"

    @property
    def storage(self) -> str:
        """The object store's URL, with its default filled in."""
        return self.storage_url or f"file://{(self.data / 'objects').resolve()}"

    @property
    def queue_names(self) -> tuple[str, ...] | None:
        """The queues that this process takes steps of; None for all."""
        return tuple(filter(None, self.queues.split(","))) or None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in a log, wherever it is said: passwords in URLs, and secret settings."""
        values = [value for _, value in self]
        hidden = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        passwords = [urlsplit(value).password for value in values if isinstance(value, str) and "://" in value]
        spelled = [text for word in passwords if word for text in (word, unquote(word))]
        return tuple(dict.fromkeys([*hidden, *spelled]))

    @property
    def spool_folder(self) -> Path | None:
        """The spool with its default filled in; None when it is off."""
        return None if self.spool == "off" else Path(self.spool) if self.spool else self.data / "spool"

    @property
    def written(self) -> dict[str, Path]:
        """The folders that are written to, by what is kept there."""
        folders = {"data": self.data, "scratch": self.data / "scratch"}
        if self.storage.startswith("file://"):
            folders["objects"] = Path(self.storage.removeprefix("file://"))
        if self.spool_folder is not None:
            folders["spool"] = self.spool_folder
        return {name: path.absolute() for name, path in folders.items()}

    @property
    def embedded(self) -> bool:
        """Whether this process owns its database alone."""
        return self.database.startswith("sqlite:")


def read_settings(**given: Any) -> Settings:
    """Read the environment; `given` (from the command line) wins. Raises SettingInvalid."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        field = Settings.model_fields.get(name)
        hint = f" {field.description}" if field and field.description else ""
        shown = "***" if name.lower().endswith(("_token", "_key")) else repr(first.get("input"))
        variable = name if name.isupper() else f"REELMILL_{name.upper()}"
        raise SettingInvalid(f"{variable}={shown}: {first['msg']}.{hint}") from error
