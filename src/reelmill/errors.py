"""Every error that Reelmill raises, and the catalogue that CLI, API and docs print from.

    ReelmillError
    ├── Refused                      the request can't be done as it stands
    │   ├── ParamsInvalid            params_invalid           422
    │   ├── PictureGiven             picture_given            422
    │   ├── TextDoesNotFit           text_does_not_fit        422
    │   ├── FontRejected             font_rejected            422
    │   ├── FontMissing              font_missing             422
    │   ├── TooManySteps             too_many_steps           422
    │   ├── IdempotencyMismatch      idempotency_mismatch     422
    │   ├── IdempotencyInProgress    idempotency_in_progress  409
    │   ├── TransitionRefused        transition_refused       409
    │   ├── UploadNeeded             upload_needed            409
    │   ├── NotReady                 not_ready                409
    │   ├── NotFound                 not_found                404
    │   ├── PipelineUnknown          pipeline_unknown         404
    │   ├── PipelineOff              pipeline_off             409
    │   ├── NotOffered               not_offered              501
    │   ├── SourceGone               source_gone              410
    │   ├── ResultsGone              results_gone             410
    │   ├── JobsQuotaReached         jobs_quota_reached       429
    │   ├── StorageQuotaReached      storage_quota_reached    507
    │   ├── DiskFull                 disk_full                507
    │   ├── NameTaken                name_taken               409
    │   ├── FontInUse                font_in_use              409
    │   ├── TooManyFonts             too_many_fonts           409
    │   ├── CursorInvalid            cursor_invalid           400
    │   ├── RequestInvalid           request_invalid          422
    │   ├── RequestTooLarge          request_too_large        413
    │   ├── MethodNotAllowed         method_not_allowed       405
    │   ├── KeyMissing               key_missing              401
    │   ├── KeyInvalid               key_invalid              401
    │   ├── ScopeMissing             scope_missing            403
    │   ├── OriginRefused            origin_refused           403
    │   ├── KeyRevoked               key_revoked              409
    │   ├── RateLimited              rate_limited             429
    │   └── SettingInvalid           setting_invalid          500
    ├── UploadProblem                the source isn't what was announced
    │   ├── UploadMissing            upload_missing           400
    │   ├── UploadExpired            upload_expired           410
    │   ├── UploadMismatch           upload_mismatch          422
    │   ├── SourceChanged            source_changed           409
    │   ├── NotAVideo                not_a_video              422
    │   ├── NotAPicture              not_a_picture            422
    │   └── MediaRejected            media_rejected           422
    ├── StorageProblem               the object store
    │   ├── ObjectMissing            object_missing           404
    │   ├── ObjectExists             object_exists            412
    │   ├── SignatureInvalid         signature_invalid        403
    │   ├── SignatureExpired         signature_expired        403
    │   ├── BodyMismatch             body_mismatch            400
    │   ├── RangeUnsatisfiable       range_unsatisfiable      416
    │   ├── StorageDenied            storage_denied           502
    │   └── StorageUnavailable       storage_unavailable      503   retryable
    ├── MediaProblem                 ffmpeg, probing, text
    │   ├── ToolMissing              tool_missing             500
    │   ├── EncodeFailed             encode_failed            500   retryable
    │   ├── DeadlineExceeded         deadline_exceeded        500
    │   ├── OutputRejected           output_rejected          500   retryable
    │   ├── OverviewFailed           overview_failed          422
    │   ├── ResourceLimit            resource_limit           500
    │   └── ChildCrashed             child_crashed            500   counted as a crash
    ├── TextProblem                  variations of a text, and the models that write them
    │   ├── VariationsUnavailable    variations_unavailable   422
    │   ├── TextContractBroken       text_contract_broken     502
    │   ├── TextModelDenied          text_model_denied        502
    │   ├── TextModelUnknown         text_model_unknown       502
    │   ├── TextModelUnreachable     text_model_unreachable   503   tried again while the text is made
    │   ├── TextModelTimedOut        text_model_timed_out     504   tried again while the text is made
    │   ├── TextModelBusy            text_model_busy          503   tried again while the text is made
    │   ├── TextModelFailed          text_model_failed        502   tried again while the text is made
    │   ├── TextModelRefused         text_model_refused       502   tried again while the text is made
    │   ├── TextReplyBroken          text_reply_broken        502   tried again while the text is made
    │   └── TextModelNeeded          text_model_needed        409
    ├── VoiceProblem                 speech, and what speaks
    │   ├── VoiceNeeded              voice_needed             409
    │   ├── VoiceUnknown             voice_unknown            422
    │   ├── VoiceDenied              voice_denied             502
    │   ├── VoiceUnavailable         voice_unavailable        503   retryable
    │   └── VoiceBroken              voice_broken             502   retryable
    ├── WorkProblem                  claims and leases
    │   ├── StaleAttempt             stale_attempt            409
    │   ├── LeaseLost                lease_lost               500   counted as a crash
    │   ├── WorkerCrashed            worker_crashed           500
    │   ├── Stopped                  stopped                  409
    │   ├── ImportedFailure          imported_failure         500
    │   └── InternalError            internal_error           500
    ├── ServiceProblem               the platform itself
    │   ├── DatabaseUnavailable      database_unavailable     503   retryable
    │   ├── BrokerUnavailable        broker_unavailable       503
    │   ├── DataFolderLocked         data_folder_locked       409
    │   ├── KeyNeeded                key_needed               500
    │   └── ServerUnreachable        server_unreachable       503
    └── SetupProblem                 the installation, as `reelmill doctor` finds it
        ├── DataFolderUnusable       data_folder_unusable     500
        ├── SecretExposed            secret_exposed           500
        ├── DiskLow                  disk_low                 503
        ├── SchemaBehind             schema_behind            503
        ├── TableUnfit               table_unfit              503
        ├── DatabaseRefused          database_refused         500
        ├── ClockSkewed              clock_skewed             500
        ├── PortTaken                port_taken               500
        ├── PublicUrlBroken          public_url_broken        502
        ├── CorsMissing              cors_missing             502
        ├── StorageMisbehaves        storage_misbehaves       502
        ├── BackupUnusable           backup_unusable          500
        ├── CheckTimedOut            check_timed_out          503
        └── ClusterFailed            cluster_failed           503

Each class says `what` happened, `why` it happens and the `remedy`. An instance may add a `detail`
that names the value at fault, and `extra` fields for machines. `code` is stable for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class ReelmillError(Exception):
    """The root: catch it to catch everything that Reelmill raises on purpose."""

    code: ClassVar[str] = "error"
    status_code: ClassVar[int] = 500
    what: ClassVar[str] = "Something went wrong."
    why: ClassVar[str] = ""
    remedy: ClassVar[str] = ""
    retryable: ClassVar[bool] = False  #: a step that raises it is tried again, with back-off

    def __init__(self, detail: str = "", **extra: Any) -> None:
        self.detail = detail or self.what
        self.extra = extra
        super().__init__(self.detail)


# ── Refused ───────────────────────────────────────────────────────────────────────────────────


class Refused(ReelmillError):
    """The request can't be done as it stands; nothing was changed."""

    code = "refused"
    status_code = 409
    what = "The request was refused."


class ParamsInvalid(Refused):
    """Read `detail`: it names the parameter and what would be accepted."""

    code = "params_invalid"
    status_code = 422
    what = "The pipeline's parameters are not valid."
    why = "A parameter is unknown, of the wrong type, out of range, or doesn't fit this video."
    remedy = "Correct the parameter named in the detail; `reelmill pipelines --json` prints each pipeline's schema."


class PictureGiven(ParamsInvalid):
    """Name a video; a picture goes behind a scene of `generate`, or onto `renditions` as their watermark."""

    code = "picture_given"
    what = "This needs a video, and the upload is a picture."
    why = "It was announced as a picture, by a content type such as image/png."
    remedy = (
        "Name a video here. A picture is used by its video_id: behind a scene of `generate`, or as the `watermark` of "
        "`renditions`. If the file is a video, upload it again as video/mp4."
    )


class TextDoesNotFit(ParamsInvalid):
    """Shorten the text, widen its box, or lower the smallest size."""

    code = "text_does_not_fit"
    what = "The text doesn't fit into the picture."
    why = "Even at the smallest size the wrapped lines are higher or wider than the box that the text may fill."
    remedy = "Shorten the text or make its size smaller."


class FontRejected(ParamsInvalid):
    """Use another file of the font; the detail says what is wrong with this one."""

    code = "font_rejected"
    what = "The file can't be used as a font."
    why = "It is no TrueType or OpenType font, is too large or damaged, or its owner forbids embedding it in films."
    remedy = "Send the .ttf or .otf file as its maker hands it out, 20 MiB at most, with a licence that allows video."


class FontMissing(ParamsInvalid):
    """Upload the font again and make a new job."""

    code = "font_missing"
    what = "The font of the text isn't there any more."
    why = "It was deleted after the job was made; a text is never drawn in another font than the one that was chosen."
    remedy = "Upload the font again, or name another one, and make a new job: a retry looks for the deleted file."


class TooManySteps(ParamsInvalid):
    """Cut the source into fewer parts, or raise REELMILL_MAX_STEPS."""

    code = "too_many_steps"
    what = "The job would have more steps than are allowed."
    why = "Each clip is a step, and a job may have at most REELMILL_MAX_STEPS of them."
    remedy = "Choose longer segments, or raise REELMILL_MAX_STEPS on the server."


class IdempotencyMismatch(Refused):
    """Use a new Idempotency-Key for a new request."""

    code = "idempotency_mismatch"
    status_code = 422
    what = "This Idempotency-Key was used with another request body."
    why = "A key stands for one request for 24 hours, so that a repeated request can be told from a new one."
    remedy = "Send a new key with the new body, or the old body with the old key."


class IdempotencyInProgress(Refused):
    """Wait a moment, then send the same request again."""

    code = "idempotency_in_progress"
    what = "A request with this Idempotency-Key is still being worked on."
    why = "The first request with the key hasn't been answered yet."
    remedy = "Wait a second and repeat the request, for a minute if need be; you will get the first one's reply."


class TransitionRefused(Refused):
    """Read the job again: it has moved on."""

    code = "transition_refused"
    what = "The job's status doesn't allow this."
    why = "The job has moved to another status in the meantime, or the action has no meaning in this status."
    remedy = "Read the job again and decide by its present status."


class UploadNeeded(Refused):
    """Finish the upload, then retry or create the job."""

    code = "upload_needed"
    what = "The video hasn't been uploaded."
    why = "A job can only run when its source was uploaded and verified."
    remedy = "PUT the file to the upload's URL, call uploads/complete, then try again."


class NotReady(Refused):
    """Wait until the job is completed."""

    code = "not_ready"
    what = "The result isn't there yet."
    why = "Outputs are handed out once the job is completed."
    remedy = "Follow the job's events, or ask for its status until it says completed."


class NotFound(Refused):
    """Check the id; it may belong to another tenant."""

    code = "not_found"
    status_code = 404
    what = "There is nothing by this id."
    why = "The id is unknown, was deleted, or isn't yours."
    remedy = "Check the id and the API key that you use."


class PipelineUnknown(Refused):
    """Choose one of the installed pipelines."""

    code = "pipeline_unknown"
    status_code = 404
    what = "There is no pipeline of this name."
    why = "The name is misspelt, or the pipeline isn't installed on this server."
    remedy = "List the installed pipelines with `reelmill pipelines`."


class PipelineOff(Refused):
    """Wait until the pipeline is switched on again; the detail has the operator's reason."""

    code = "pipeline_off"
    what = "The pipeline is switched off."
    why = "An operator has switched it off: new jobs of it are refused, those that were taken before go on."
    remedy = "Read the reason in the detail, and try again later; `reelmill admin switches` lists what is off."


class NotOffered(Refused):
    """Use a store that offers it, PostgreSQL or SQLite, or do without."""

    code = "not_offered"
    status_code = 501
    what = "The operation isn't offered by this store."
    why = "On DynamoDB there is no deleting with undo, no retention, no usage and quotas, no switches and no imports."
    remedy = "Run Reelmill on PostgreSQL or SQLite (REELMILL_DATABASE_URL) if it is needed."


class SourceGone(Refused):
    """Upload the film again, as a new video."""

    code = "source_gone"
    status_code = 410
    what = "The video's source was removed."
    why = "Sources are kept for REELMILL_RETAIN_SOURCES_DAYS; results that were made from it are kept by themselves."
    remedy = "Upload the film again: it becomes a new video, and jobs run on that."


class ResultsGone(Refused):
    """Run the pipeline again, as a new job."""

    code = "results_gone"
    status_code = 410
    what = "The job's files were removed."
    why = "Outputs are kept for REELMILL_RETAIN_OUTPUTS_DAYS after a job has ended."
    remedy = "Make a new job on the same video; upload the film again if its source is gone, too."


class JobsQuotaReached(Refused):
    """Wait until some of the tenant's jobs have ended."""

    code = "jobs_quota_reached"
    status_code = 429
    what = "The tenant has as many jobs in flight as it may have."
    why = "Jobs that wait for an upload, are queued or run count; REELMILL_QUOTA_JOBS or an operator sets the limit."
    remedy = "Wait until some have ended, or cancel some; `reelmill tenants set NAME --jobs N` raises it."


class StorageQuotaReached(Refused):
    """Delete videos, or ask the operator for more room."""

    code = "storage_quota_reached"
    status_code = 507
    what = "The tenant's storage is full."
    why = "Sources, announced uploads and outputs count; REELMILL_QUOTA_BYTES or an operator sets the limit."
    remedy = (
        "Delete videos (DELETE /api/v1/videos/{video_id}; their room is free once they are purged), give open uploads "
        "up, or let an operator raise it by `reelmill tenants set NAME --bytes N`."
    )


class DiskFull(Refused):
    """Free space on the server's disk, then announce the file again."""

    code = "disk_full"
    status_code = 507
    what = "The announced file doesn't fit on the server's disk."
    why = "The file and REELMILL_DISK_RESERVE_MB, which is kept free, need more room than there is."
    remedy = "Let an operator free some space or move the objects to a larger disk; a smaller file may still fit."


class CursorInvalid(Refused):
    """Start the listing again without a cursor."""

    code = "cursor_invalid"
    status_code = 400
    what = "The cursor can't be read."
    why = "A cursor is taken from `next_cursor` of the page before and can't be made or changed by hand."
    remedy = "Leave the cursor out to start from the first page."


class RequestInvalid(Refused):
    """Read `errors`: each names the field and what is wrong with it."""

    code = "request_invalid"
    status_code = 422
    what = "The request can't be understood."
    why = "A field is missing, unknown, of the wrong type or out of range, or the body isn't JSON."
    remedy = "Correct the fields named in `errors`; the OpenAPI document at /openapi.json describes them all."


class NameTaken(Refused):
    """Choose another name, or change what has it."""

    code = "name_taken"
    what = "There is one with this name already."
    why = "Presets and fonts are named in jobs' parameters, so each name stands for one of them."
    remedy = "Choose another name, or change the one that has it."


class FontInUse(Refused):
    """Wait for the jobs that the detail names, or cancel them."""

    code = "font_in_use"
    status_code = 409
    what = "Jobs that haven't ended need the font."
    why = "Their clips are still drawn, on any machine, from the file that was chosen when they were made."
    remedy = "Wait until these jobs have ended, or cancel them; then delete the font again."


class TooManyFonts(Refused):
    """Delete fonts that no text names any more."""

    code = "too_many_fonts"
    status_code = 409
    what = "The tenant has as many fonts as it may have."
    why = "Fonts are looked at and kept on each machine that draws with them, so their number has a limit."
    remedy = "Delete fonts that aren't used (`reelmill fonts remove`), then upload this one again."


class RequestTooLarge(Refused):
    """Send a smaller body; videos go to the upload's URL."""

    code = "request_too_large"
    status_code = 413
    what = "The request's body is too large."
    why = "API requests are small JSON documents, or a font; a video goes to the signed upload URL."
    remedy = "Send a video to the URL from uploads/initiate, and a font as a file of at most 20 MiB."


class MethodNotAllowed(Refused):
    """Use one of the methods in the Allow header."""

    code = "method_not_allowed"
    status_code = 405
    what = "This path doesn't take this method."
    why = "The path exists, but not for this HTTP method."
    remedy = "Use a method named in the reply's Allow header; see /openapi.json."


class KeyMissing(Refused):
    """Send an API key."""

    code = "key_missing"
    status_code = 401
    what = "The request carries no API key."
    why = "Every request but health checks and signed URLs needs one."
    remedy = "Make a key with `reelmill keys create NAME` and send it as `Authorization: Bearer KEY`."


class KeyInvalid(Refused):
    """Use a key that exists and isn't revoked."""

    code = "key_invalid"
    status_code = 401
    what = "The API key isn't valid."
    why = "It is mistyped, unknown to this server, or was revoked."
    remedy = "List the keys with `reelmill keys list`; make a new one with `reelmill keys create NAME`."


class ScopeMissing(Refused):
    """Use a key that has the scope."""

    code = "scope_missing"
    status_code = 403
    what = "The API key may not do this."
    why = "The key lacks the scope that this operation needs."
    remedy = "Make a key with the scope named in the detail."


class OriginRefused(Refused):
    """Send the request from the page of this server."""

    code = "origin_refused"
    status_code = 403
    what = "The request comes from another site."
    why = "A signed-in browser may change things only from this server's own pages."
    remedy = "Use an API key for requests from other sites."


class KeyRevoked(Refused):
    """Rotate the key that took its place, or make a new one."""

    code = "key_revoked"
    what = "The API key can't be rotated any more."
    why = "It was revoked, or rotated before: a key has one successor, so that none is lost sight of."
    remedy = "Rotate its successor (`reelmill keys list` shows it), or make a new key with `reelmill keys create NAME`."


class RateLimited(Refused):
    """Wait as long as Retry-After says, then send the request again."""

    code = "rate_limited"
    status_code = 429
    what = "Too many requests came in too short a time."
    why = "A key may send REELMILL_RATE_LIMIT requests a minute; all requests without a valid key count by address."
    remedy = "Wait for the seconds in Retry-After, then repeat; follow a job by its events instead of asking often."


class SettingInvalid(Refused):
    """Correct the variable that the detail names; it also shows a good value."""

    code = "setting_invalid"
    status_code = 500
    what = "A setting can't be used."
    why = "An environment variable or option has a value that makes no sense."
    remedy = "Set the variable named in the detail to a value like the one shown there."


# ── UploadProblem ─────────────────────────────────────────────────────────────────────────────


class UploadProblem(ReelmillError):
    """The source isn't what was announced."""

    code = "upload_problem"
    status_code = 422
    what = "The upload can't be used."


class UploadMissing(UploadProblem):
    """The object is not in storage: finish the PUT, then call complete again."""

    code = "upload_missing"
    status_code = 400
    what = "Upload not found in S3"  # the wording that older clients match on
    why = "complete was called, but there is no object under the upload's key."
    remedy = "PUT the file to the upload's URL (ask GET /uploads/{video_id} for a fresh one), then call complete again."


class UploadExpired(UploadProblem):
    """Ask for a fresh URL, send the file, then call complete."""

    code = "upload_expired"
    status_code = 410
    what = "The upload wasn't finished in time."
    why = "An upload that isn't completed within REELMILL_UPLOAD_TTL_S is given up."
    remedy = "Start a new upload; if the file has arrived after all, call complete again."


class UploadMismatch(UploadProblem):
    """Send the file that was announced."""

    code = "upload_mismatch"
    what = "The uploaded object isn't the announced file."
    why = "Its size or its SHA-256 differs from what was declared at initiate; the object was removed."
    remedy = "Upload the file again under the same video id, or start a new upload with the right size and checksum."


class SourceChanged(UploadProblem):
    """Let the file come to rest, then upload it anew."""

    code = "source_changed"
    status_code = 409
    what = "The file was changed while it was being uploaded."
    why = "Its size or its time of change isn't what it was when the upload began, so its parts don't belong together."
    remedy = "Wait until nothing writes to the file, then upload it again; a new upload begins."


class NotAVideo(UploadProblem):
    """Upload a video file."""

    code = "not_a_video"
    what = "The uploaded file isn't a video."
    why = "No known container or no video stream was found in it, or it is damaged from the start."
    remedy = "Play the file on your own machine first; upload a video (MP4, MOV, MKV, WebM, AVI, MPEG-TS)."


class NotAPicture(UploadProblem):
    """Save it as a PNG or JPEG of ordinary size, and upload that."""

    code = "not_a_picture"
    what = "The uploaded file isn't a picture that is taken here."
    why = "It isn't a PNG, JPEG or WebP, it moves, it is damaged, or it has too many pixels or bytes."
    remedy = (
        "Open it on your own machine and save it as PNG or JPEG, with at most 50 million pixels and 64 MiB; start a "
        "new upload. If it is a video, announce it as one: `content_type` video/mp4."
    )


class MediaRejected(UploadProblem):
    """Convert the file to something plainer, then upload that."""

    code = "media_rejected"
    what = "The video is outside what this server takes."
    why = "Its dimensions, frame rate, duration, streams or time stamps exceed the limits for untrusted files."
    remedy = "Convert it, for example with `ffmpeg -i IN -c:v libx264 -c:a aac OUT.mp4`, and start a new upload."


# ── StorageProblem ────────────────────────────────────────────────────────────────────────────


class StorageProblem(ReelmillError):
    """The object store said no, or nothing."""

    code = "storage_problem"
    status_code = 502
    what = "The object store couldn't do this."


class ObjectMissing(StorageProblem):
    """There is no object under this key."""

    code = "object_missing"
    status_code = 404
    what = "The object isn't in storage."
    why = "It was never written, or it was deleted."
    remedy = "Check the key; run the job again if an output was deleted."


class ObjectExists(StorageProblem):
    """The object is there already: call complete."""

    code = "object_exists"
    status_code = 412
    what = "There is an object under this key already."
    why = "Objects are written once: an upload URL can't replace a file that has arrived."
    remedy = "Call uploads/complete; to send another file, start a new upload."


class MultipartGone(StorageProblem):
    """Ask for the upload's state: its parts begin anew."""

    code = "multipart_gone"
    status_code = 404
    what = "This upload in parts isn't there any more."
    why = "It was completed, aborted or has expired; parts of it can't be sent, listed or joined."
    remedy = "Ask GET /uploads/{video_id} where the upload stands, then sign and send the missing parts."


class SignatureInvalid(StorageProblem):
    """Use the URL and headers exactly as they were handed out."""

    code = "signature_invalid"
    status_code = 403
    what = "The URL's signature doesn't match the request."
    why = "A signed URL is bound to its method, key, size, content type and checksum; something was changed."
    remedy = "Send exactly the method, headers and body that the URL was made for, or ask for a new URL."


class SignatureExpired(StorageProblem):
    """Ask for a new URL."""

    code = "signature_expired"
    status_code = 403
    what = "The signed URL has expired."
    why = "Signed URLs live for a limited time."
    remedy = "Ask for a new one: GET /uploads/{video_id} for an upload, GET /jobs/{job_id}/status for results."


class BodyMismatch(StorageProblem):
    """Send exactly the bytes that the URL was signed for."""

    code = "body_mismatch"
    status_code = 400
    what = "The body isn't what the URL was signed for."
    why = "Its length or its SHA-256 differs from the signed value, or the connection broke off; nothing was stored."
    remedy = "Send the whole file again."


class RangeUnsatisfiable(StorageProblem):
    """Ask for a range inside the object."""

    code = "range_unsatisfiable"
    status_code = 416
    what = "The range lies outside the object."
    why = "The Range header asks for bytes behind the end."
    remedy = "Read Content-Range of this reply for the object's size."


class StorageDenied(StorageProblem):
    """Fix the store's credentials or policy."""

    code = "storage_denied"
    what = "The object store refused access."
    why = "The server's credentials may not do this, or the folder's permissions forbid it."
    remedy = "Correct the credentials, bucket policy or folder permissions of REELMILL_STORAGE_URL, then repeat."


class StorageUnavailable(StorageProblem):
    """Wait, then repeat: nothing was changed."""

    code = "storage_unavailable"
    status_code = 503
    what = "The object store doesn't answer."
    why = "It is down, overloaded or unreachable, or the disk is full."
    remedy = "Repeat the request in a moment; look at the store if it goes on."
    retryable = True


# ── MediaProblem ──────────────────────────────────────────────────────────────────────────────


class MediaProblem(ReelmillError):
    """Work on the media itself failed."""

    code = "media_problem"
    what = "The media couldn't be processed."


class ToolMissing(MediaProblem):
    """Install the tool that the detail names."""

    code = "tool_missing"
    what = "A program or font that is needed isn't there."
    why = "The installation is incomplete."
    remedy = "Reinstall with `pip install --force-reinstall reelmill`, or point REELMILL_FFMPEG at ffmpeg ≥ 8.1.3."


class EncodeFailed(MediaProblem):
    """Read the tail of ffmpeg's own words in `extra['stderr']`."""

    code = "encode_failed"
    what = "ffmpeg ended with an error."
    why = "The source is damaged where it was read, or the machine is short of memory or disk."
    remedy = "Look at the command and the tail of its output in the job; play the source at that place."
    retryable = True


class DeadlineExceeded(MediaProblem):
    """The work took longer than it may."""

    code = "deadline_exceeded"
    what = "A step took longer than its deadline."
    why = "The machine is overloaded, or the source makes the decoder run on without end."
    remedy = "Retry when the machine is less busy; if it happens again, convert the source first."


class OutputRejected(MediaProblem):
    """The output was written but isn't what was planned."""

    code = "output_rejected"
    what = "An output didn't pass its check."
    why = "Its duration, frames or streams differ from the plan, so it was not recorded."
    remedy = "Retry the job; if it happens again, the source is likely damaged at that place."
    retryable = True


class OverviewFailed(MediaProblem):
    """Do without the picture: jobs on the video may still work."""

    code = "overview_failed"
    status_code = 422
    what = "No overview of the source could be made."
    why = "The source is damaged where the picture or the sound was read, or reading it took too long."
    remedy = "Play the source at that place; a job on it tells more. If other videos fail too, run `reelmill doctor`."


class ResourceLimit(MediaProblem):
    """The child was stopped by a limit on time, memory or file size."""

    code = "resource_limit"
    what = "The media work hit a resource limit."
    why = "It used more processor time, memory or disk than one step may."
    remedy = "Convert the source to something plainer, or raise the limit in the settings."


class ChildCrashed(MediaProblem):
    """A media child died by a signal that we didn't send: counted as a crash, not as a try."""

    code = "child_crashed"
    what = "A media process died."
    why = "It was killed from outside (out of memory, an operator) or crashed on this source."
    remedy = "Nothing: the step is taken up again, up to three times."


# ── TextProblem ───────────────────────────────────────────────────────────────────────────────


class TextProblem(ReelmillError):
    """Texts couldn't be varied. Those with `passing` are tried again, three times, by whoever makes the texts."""

    code = "text_problem"
    status_code = 502
    what = "The texts couldn't be made."
    passing: ClassVar[bool] = False  #: asking the model again may help


class VariationsUnavailable(TextProblem):
    """Add what the detail names: alternatives, a language, more characters or fewer texts."""

    code = "variations_unavailable"
    status_code = 422
    what = "There aren't as many different texts as were asked for."
    why = "Local rules only use what was given: alternatives, order, clip times, and phrases of languages they know."
    remedy = "Add alternatives like `{Hello|Welcome}`, name the language, allow more characters, or set up a model."


class TextContractBroken(TextProblem):
    """Loosen the rule that the detail names, or let local rules make the rest."""

    code = "text_contract_broken"
    what = "The model's texts break the rules, also after two more rounds."
    why = "The model didn't keep to length, words, language or count, and local rules weren't allowed to help out."
    remedy = "Loosen the rule named in the detail, allow local rules (`fill`), or choose a better model."


class TextModelDenied(TextProblem):
    """Correct the model's key."""

    code = "text_model_denied"
    what = "The text model refuses the key."
    why = "The key is missing, wrong, expired, or may not use this model."
    remedy = "Set GEMINI_API_KEY, or REELMILL_TEXT_MODEL_KEY for other servers, to a valid key; then `reelmill doctor`."


class TextModelUnknown(TextProblem):
    """Correct the model's name, or its server's address."""

    code = "text_model_unknown"
    what = "The server doesn't have this text model."
    why = "REELMILL_TEXT_MODEL names a model that isn't there, or REELMILL_TEXT_MODEL_URL leads to another server."
    remedy = "Name one of the models in the detail, or correct the address; then `reelmill doctor text_model`."


class TextModelUnreachable(TextProblem):
    """Start the model's server, or correct its address."""

    code = "text_model_unreachable"
    status_code = 503
    what = "The text model's server can't be reached."
    why = "It isn't running, its address is wrong, or the network is down."
    remedy = "Start it, or correct REELMILL_TEXT_MODEL_URL; `REELMILL_TEXT_MODEL=local` does without."
    passing = True


class TextModelTimedOut(TextProblem):
    """Wait longer, or choose a faster model."""

    code = "text_model_timed_out"
    status_code = 504
    what = "The text model didn't answer in time."
    why = "The model is slow or overloaded, or its answer trickles in."
    remedy = "Raise REELMILL_TEXT_MODEL_TIMEOUT_S, ask for fewer texts, or choose a faster model."
    passing = True


class TextModelBusy(TextProblem):
    """Ask again later: the model's quota is used up for now."""

    code = "text_model_busy"
    status_code = 503
    what = "The text model takes no more requests for now."
    why = "The key's rate limit or quota is used up (HTTP 429)."
    remedy = "Try again after the time in the detail, or raise the quota at the model's provider."
    passing = True


class TextModelFailed(TextProblem):
    """Ask again; the model's server has an error of its own."""

    code = "text_model_failed"
    what = "The text model's server answered with an error."
    why = "It failed by itself (HTTP 5xx), or doesn't take requests like ours."
    remedy = "Try again in a moment; if it goes on, look into the log of the model's server."
    passing = True


class TextModelRefused(TextProblem):
    """Word the text differently: the model's safety filter stopped it."""

    code = "text_model_refused"
    what = "The text model refuses to write about this."
    why = "Its safety filter found something in the text, in the notes, or in what it was about to write."
    remedy = "Word the text or the notes differently, or let local rules make the texts."
    passing = True


class TextReplyBroken(TextProblem):
    """Ask again, or choose a model that keeps to JSON."""

    code = "text_reply_broken"
    what = "The text model's answer can't be read."
    why = "It isn't JSON with a list of texts, isn't UTF-8, was cut off, or is far too long."
    remedy = "Try again; if it goes on, choose a model that supports structured output."
    passing = True


class TextModelNeeded(TextProblem):
    """Set a text model up, or give the script yourself."""

    code = "text_model_needed"
    status_code = 409
    what = "A script on a topic needs a text model, and none is set up."
    why = "Local rules vary texts; they don't write one."
    remedy = (
        "Set REELMILL_TEXT_MODEL=gemini/NAME with GEMINI_API_KEY, or openai/NAME with REELMILL_TEXT_MODEL_URL; "
        "or give `script` or `scenes` instead of `topic`."
    )


# ── VoiceProblem ──────────────────────────────────────────────────────────────────────────────


class VoiceProblem(ReelmillError):
    """A narration couldn't be spoken."""

    code = "voice_problem"
    status_code = 502
    what = "The narration couldn't be spoken."


class VoiceNeeded(VoiceProblem):
    """Install a voice or name one, or leave narrations out."""

    code = "voice_needed"
    status_code = 409
    what = "The narration needs a voice, and none is set up."
    why = "No offline voice is installed, and REELMILL_VOICE names no server's."
    remedy = (
        "pip install 'reelmill[voice]' (eSpeak NG) or 'reelmill[piper]' (a natural English voice); or set "
        "REELMILL_VOICE=openai/MODEL or gemini/MODEL; or leave `narration` out."
    )


class VoiceUnknown(VoiceProblem):
    """Correct the voice's name, or the model's."""

    code = "voice_unknown"
    status_code = 422
    what = "There is no such voice."
    why = "`voice`, or the model in REELMILL_VOICE, names one that what speaks doesn't have."
    remedy = "Leave `voice` out for the usual one, or name one that the detail or the server's documentation lists."


class VoiceDenied(VoiceProblem):
    """Correct the voice's key."""

    code = "voice_denied"
    what = "The voice's server refuses the key."
    why = "The key is missing, wrong, expired, or may not use this model."
    remedy = "Set REELMILL_VOICE_KEY (for Gemini, GEMINI_API_KEY) to a valid key; then `reelmill doctor voice`."


class VoiceUnavailable(VoiceProblem):
    """Start the voice's server, or wait: it is tried again."""

    code = "voice_unavailable"
    status_code = 503
    what = "The voice's server doesn't answer now."
    why = "It isn't running, is overloaded, its quota is used up, or the network is down."
    remedy = "Start it, or correct REELMILL_VOICE_URL; REELMILL_VOICE=espeak speaks without a network."
    retryable = True


class VoiceBroken(VoiceProblem):
    """Try again; the detail says what is wrong with the speech."""

    code = "voice_broken"
    what = "What came back isn't speech that can be used."
    why = "It isn't a WAV file of 16 bits, is silent or far too long, or the voice's process failed."
    remedy = "Retry the job; if it happens again, reword the line in the detail, or choose another voice."
    retryable = True


# ── WorkProblem ───────────────────────────────────────────────────────────────────────────────


class WorkProblem(ReelmillError):
    """Claims, leases and attempts."""

    code = "work_problem"
    what = "The step couldn't be worked on."


class StaleAttempt(WorkProblem):
    """Drop the work: the step belongs to a newer attempt, or its job has ended."""

    code = "stale_attempt"
    status_code = 409
    what = "The step was claimed by somebody else, or its job has moved on."
    why = "The lease was lost, or the job was cancelled, failed or retried in the meantime."
    remedy = "Nothing: the newer attempt goes on."


class LeaseLost(WorkProblem):
    """A worker was silent for a whole lease: counted as a crash; the step is taken up again."""

    code = "lease_lost"
    what = "The worker vanished."
    why = "It was killed, lost its machine or network, or hung for longer than REELMILL_LEASE_S."
    remedy = "Nothing: the step is taken up again, up to three times; look at the worker's log if it happens often."


class WorkerCrashed(WorkProblem):
    """Three crashes on one step: the source is likely poison for the tools."""

    code = "worker_crashed"
    what = "The workers on one step died three times."
    why = "A media process crashed or a worker vanished each time that the step was tried."
    remedy = "Look for out-of-memory kills on the workers; convert the source to something plainer; then retry the job."


class Stopped(WorkProblem):
    """Raised inside a step when its job was cancelled, its lease lost or its worker is shutting down."""

    code = "stopped"
    status_code = 409
    what = "The step was stopped."
    why = "The job was cancelled, the lease was lost or the worker is shutting down."
    remedy = "Nothing: what is needed is done again."


class ImportedFailure(WorkProblem):
    """Look where the job came from: it failed there."""

    code = "imported_failure"
    status_code = 500
    what = "The job failed in the system that it was imported from."
    why = "It was imported with its end; nothing of it ran here."
    remedy = "Read the detail, which is the older system's own, and make a new job if the result is still wanted."


class InternalError(WorkProblem):
    """A defect in Reelmill or a pipeline; the log has the stack trace."""

    code = "internal_error"
    what = "An unexpected error happened."
    why = "This is a defect in Reelmill or in a pipeline that was added to it."
    remedy = "Look up the correlation id in the server's log and report it with the stack trace found there."


# ── ServiceProblem ────────────────────────────────────────────────────────────────────────────


class ServiceProblem(ReelmillError):
    """The platform itself can't go on."""

    code = "service_problem"
    status_code = 503
    what = "The service can't do this now."


class DatabaseUnavailable(ServiceProblem):
    """Wait, then repeat: nothing was changed."""

    code = "database_unavailable"
    what = "The database doesn't answer."
    why = "It is down, unreachable or overloaded."
    remedy = "Repeat in a moment; check REELMILL_DATABASE_URL and the database if it goes on."
    retryable = True


class BrokerUnavailable(ServiceProblem):
    """Start the broker, or correct REELMILL_BROKER_URL."""

    code = "broker_unavailable"
    status_code = 503
    what = "The broker doesn't answer."
    why = "It isn't running, its address or password is wrong, or the network is down. No job is lost or refused."
    remedy = "Start it, or correct REELMILL_BROKER_URL. Until then workers find new steps by looking for themselves."


class DataFolderLocked(ServiceProblem):
    """Stop the other server, or use another data folder."""

    code = "data_folder_locked"
    status_code = 409
    what = "Another Reelmill server uses this data folder."
    why = "An embedded server owns its folder alone, so that no job is done twice."
    remedy = "Stop the other server, or choose another folder with `--data DIR` (REELMILL_DATA)."


class KeyNeeded(ServiceProblem):
    """Make an API key before binding to a public address."""

    code = "key_needed"
    status_code = 500
    what = "The server would be open to the network without any API key."
    why = "Binding to an address other than loopback needs at least one key."
    remedy = "Run `reelmill keys create NAME` first, or bind to 127.0.0.1."


class ServerUnreachable(ServiceProblem):
    """Start the server, or correct the address."""

    code = "server_unreachable"
    what = "The Reelmill server doesn't answer."
    why = "It isn't running, or the address is wrong."
    remedy = "Start it with `reelmill serve`, or set REELMILL_URL to its address."


# ── SetupProblem ──────────────────────────────────────────────────────────────────────────────


class SetupProblem(ReelmillError):
    """The installation isn't as it should be."""

    code = "setup_problem"
    what = "The installation isn't in order."


class DataFolderUnusable(SetupProblem):
    """Make the folder, or make it writable."""

    code = "data_folder_unusable"
    what = "The data folder can't be used."
    why = "It isn't there, something else lies in its place, or this user may not write to it."
    remedy = "Make the folder, let the server's user write to it, or name another by REELMILL_DATA."


class SecretExposed(SetupProblem):
    """Take the file's permissions back; if others may have read it, delete it."""

    code = "secret_exposed"
    what = "A secret file can be read by every user of this machine."
    why = "Who reads it can sign URLs or use the API; the server refuses to start with such a secret."
    remedy = (
        "Take the permissions back. If somebody may have read the file, delete it: "
        "the server makes another at its next start, and URLs and keys from the old one end."
    )


class DiskLow(SetupProblem):
    """Free some space, or give the folder a larger disk."""

    code = "disk_low"
    status_code = 503
    what = "The disk is nearly full."
    why = "Uploads, clips and the database need room; below REELMILL_DISK_RESERVE_MB no step is begun. Jobs wait."
    remedy = "Free some space, or move the folder to a larger disk by REELMILL_DATA or REELMILL_STORAGE_URL."


class SchemaBehind(SetupProblem):
    """Upgrade the database, or Reelmill if the database is the newer one."""

    code = "schema_behind"
    status_code = 503
    what = "The database's schema isn't the one that this version needs."
    why = "The database is new, or was last used by another version of Reelmill."
    remedy = "Restart the server, which upgrades it at start, or run `reelmill doctor --fix` while no server runs."


class TableUnfit(SetupProblem):
    """Make the table, or name the one that was made."""

    code = "table_unfit"
    status_code = 503
    what = "The DynamoDB table isn't there, or has other keys or indexes than are needed."
    why = "It is made when told, not at start; or REELMILL_DATABASE_URL names another table, region or hash key."
    remedy = "Run `reelmill database create`, or apply the Terraform module; name the table's own key by `&hash_key=`."


class DatabaseRefused(SetupProblem):
    """Let the database's user write, or name the primary."""

    code = "database_refused"
    what = "The database answers, but doesn't take a job's row."
    why = "It is a read-only standby, its user may not write, there are no credentials, or somebody changed its tables."
    remedy = "Name the primary in REELMILL_DATABASE_URL and let its user write to Reelmill's tables."


class ClockSkewed(SetupProblem):
    """Let both machines follow a time server."""

    code = "clock_skewed"
    what = "Two clocks that must agree are apart."
    why = "Signed URLs and leases end by the clock; S3 refuses requests that are more than 15 minutes off."
    remedy = "Let this machine and the other follow a time server (NTP)."


class PortTaken(SetupProblem):
    """Stop the other program, or choose another port."""

    code = "port_taken"
    what = "The server can't listen on its port."
    why = "Another program listens there, or the port is below 1024 and only root may use it."
    remedy = "Stop what uses it, or choose another port by REELMILL_PORT."


class PublicUrlBroken(SetupProblem):
    """Correct the public address, or what stands in front of storage."""

    code = "public_url_broken"
    status_code = 502
    what = "Clients can't reach storage under its public address."
    why = "Nothing answers there, or something else does: another program, another data folder, a proxy's error page."
    remedy = (
        "Correct REELMILL_PUBLIC_URL (with S3: public_endpoint in REELMILL_STORAGE_URL), "
        "the name's DNS entry, or the proxy in front."
    )


class CorsMissing(SetupProblem):
    """Let web pages use storage: CORS rules on the bucket, or CORS headers that the proxy leaves alone."""

    code = "cors_missing"
    status_code = 502
    what = "Web pages may not use storage from the browser."
    why = "Browsers ask storage for permission (CORS) before an upload, and only show ETag if it is exposed."
    remedy = (
        "On a bucket: allow GET, HEAD, PUT, POST and DELETE from the page's origin with all headers, expose ETag; "
        "`reelmill doctor --fix` does it. Behind a proxy: let it pass OPTIONS and the Access-Control headers."
    )


class StorageMisbehaves(SetupProblem):
    """Correct the store or what stands in front of it; the detail says what it did."""

    code = "storage_misbehaves"
    status_code = 502
    what = "Storage does something else than a signed URL says."
    why = "The store is too old or set up otherwise, or a proxy in front changes, cuts or caches requests."
    remedy = "Ask storage without the proxy to see which it is; let the proxy pass requests and replies as they are."


class BackupUnusable(SetupProblem):
    """Take another backup; the detail says what is wrong with this one."""

    code = "backup_unusable"
    status_code = 500
    what = "The backup can't be used."
    why = "It isn't a whole one, a file in it was changed, or a newer version of Reelmill made it."
    remedy = "Take another backup, or the version of Reelmill that the detail names."


class CheckTimedOut(SetupProblem):
    """Look at what the check asks: it hangs."""

    code = "check_timed_out"
    status_code = 503
    what = "A check got no answer in time."
    why = "What it asks hangs, is overloaded or lies behind a firewall that drops packets."
    remedy = "See whether the address in the settings is right and answers; then check again."


class ClusterFailed(SetupProblem):
    """Read the part's log; the detail has its end."""

    code = "cluster_failed"
    status_code = 503
    what = "A part of the local cluster doesn't work."
    why = "It ended at once or doesn't answer: another program took its port, the disk is full, or memory is short."
    remedy = (
        "Read its log by `reelmill cluster logs`, then run `reelmill cluster up` again: what runs is left as it is."
    )


def catalogue() -> Iterator[type[ReelmillError]]:
    """Yield every error class of the package with a code of its own, in the order of definition."""

    def walk(cls: type[ReelmillError]) -> Iterator[type[ReelmillError]]:
        for child in cls.__subclasses__():
            if child.__module__ == __name__:
                if not child.__subclasses__() or child is ParamsInvalid:
                    yield child
                yield from walk(child)

    return walk(ReelmillError)
