"""The Terraform module: parsed, its references followed, and compared with what the code really does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest

from deploying import DEPLOY, ROOT
from reelmill.objects.s3_cors import rules

MODULE = DEPLOY / "terraform"
FILES = sorted(MODULE.glob("*.tf"))
TEXT = "\n".join(path.read_text() for path in FILES)
REFERENCE = re.compile(r"\b(aws_[a-z0-9_]+)\.([a-z_]+)\b|\bvar\.([a-z_]+)|\blocal\.([a-z_]+)")

#: What botocore's calls need, where it isn't the same word. A HEAD is a GetObject; a list shows what is there.
S3_ACTIONS = {
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "copy_object": "s3:PutObject",  # and GetObject, which is here anyway
    "delete_object": "s3:DeleteObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_parts": "s3:ListMultipartUploadParts",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "head_bucket": "s3:ListBucket",
}
#: What an operator does once, and API and workers never; Terraform does it here.
BY_OPERATORS = {"put_bucket_cors", "create_table", "update_continuous_backups"}


def plain(value: Any) -> Any:
    """Return python-hcl2's values without their quotes and marks."""
    match value:
        case dict():
            return {plain(key): plain(one) for key, one in value.items() if not str(key).startswith("__")}
        case list():
            return [plain(one) for one in value]
        case str() if len(value) > 1 and value[0] == value[-1] == '"':
            return value[1:-1]
    return value


def blocks(kind: str) -> Iterator[dict[str, Any]]:
    for path in FILES:
        yield from plain(hcl2.loads(path.read_text())).get(kind, [])


def resource(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one[kind][name] for one in blocks("resource") if name in one.get(kind, {})]
    result: dict[str, Any] = found
    return result


@pytest.mark.req("B-09")
def test_every_reference_leads_somewhere() -> None:
    declared = {f"{kind}.{name}" for one in blocks("resource") for kind, names in one.items() for name in names}
    declared |= {f"data.{kind}.{name}" for one in blocks("data") for kind, names in one.items() for name in names}
    variables = {name for one in blocks("variable") for name in one}
    local_names = {name for one in blocks("locals") for name in one}
    code = re.sub(r"#.*", "", TEXT)
    for match in REFERENCE.finditer(code):
        kind, name, variable, local_name = match.groups()
        if kind:
            data = "data." if code[: match.start()].endswith("data.") else ""
            assert f"{data}{kind}.{name}" in declared, match.group()
        elif variable:
            assert variable in variables, match.group()
        else:
            assert local_name in local_names, match.group()
    for name in variables:
        assert f"var.{name}" in code, f"{name} isn't used"


def test_every_variable_is_described_and_what_can_be_wrong_is_checked() -> None:
    for one in blocks("variable"):
        for name, told in one.items():
            assert told["description"], name
            assert told["type"], name
            if told["type"] == "string":
                assert "validation" in told, name


@pytest.mark.req("B-09")
def test_the_bucket_is_private_and_encrypted() -> None:
    assert resource("aws_s3_bucket", "video_bucket")["bucket"] == "${var.bucket_name}"
    closed = resource("aws_s3_bucket_public_access_block", "video_bucket")
    names = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
    assert all(closed[name] is True for name in names)
    encryption = str(resource("aws_s3_bucket_server_side_encryption_configuration", "video_bucket"))
    assert "aws:kms" in encryption and "AES256" in encryption
    assert "aws:SecureTransport" in TEXT


@pytest.mark.req("B-09")
def test_cors_is_what_the_adapter_asks_for() -> None:
    (told,) = resource("aws_s3_bucket_cors_configuration", "video_bucket")["cors_rule"]
    (asked,) = rules(["*"])
    assert told["allowed_methods"] == asked["AllowedMethods"]
    assert told["allowed_headers"] == asked["AllowedHeaders"]
    assert told["expose_headers"] == asked["ExposeHeaders"]
    assert told["max_age_seconds"] == asked["MaxAgeSeconds"]


@pytest.mark.req("B-09")
def test_the_lifecycle_never_touches_videos() -> None:
    found = {rule["id"]: rule for rule in resource("aws_s3_bucket_lifecycle_configuration", "video_bucket")["rule"]}
    assert found["abort-unfinished-uploads"]["abort_incomplete_multipart_upload"] == [{"days_after_initiation": 7}]
    assert found["expire-probes"]["filter"] == [{"prefix": ".probe/"}]
    assert [name for name, rule in found.items() if "expiration" in rule] == ["expire-probes"]
    assert not [name for name, rule in found.items() if "transition" in rule]


@pytest.mark.req("B-09")
def test_roles_may_do_what_the_storage_adapter_calls_and_nothing_else() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "src/reelmill/objects").glob("s3*.py"))
    called = set(re.findall(r"\bclient\.([a-z0-9_]+)\(", code)) | set(
        re.findall(r'get_paginator\("([a-z0-9_]+)"', code)
    )
    called -= {"get_paginator", "close"} | BY_OPERATORS
    assert called <= S3_ACTIONS.keys(), f"unknown calls: {sorted(called - S3_ACTIONS.keys())}"
    assert granted("s3") == {S3_ACTIONS[name] for name in called}


@pytest.mark.req("B-09")
def test_roles_may_do_what_the_table_adapter_calls_and_nothing_else() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "src/reelmill/stores/dynamo").glob("*.py"))
    called = set(re.findall(r'_call\(\s*"([a-z_]+)"', code)) | set(re.findall(r"_client\.([a-z_]+)\(", code))
    called -= {"close", "get_waiter"} | BY_OPERATORS
    assert called
    assert granted("dynamodb") == {f"dynamodb:{''.join(word.title() for word in name.split('_'))}" for name in called}


def granted(service: str) -> set[str]:
    (policy,) = [
        one["aws_iam_policy_document"]["reelmill"]
        for one in blocks("data")
        if "reelmill" in one.get("aws_iam_policy_document", {})
    ]
    found = set(re.findall(rf"\b{service}:[A-Za-z]+", str(policy)))
    assert not re.search(rf"{service}:[A-Za-z]*\*", str(policy))
    assert "'*'" not in str(policy)
    return found


@pytest.mark.req("B-09", "A-08")
def test_the_table_is_made_by_the_definition_that_the_code_uses() -> None:
    (path,) = re.findall(r'jsondecode\(file\("\$\{path\.module\}/([^"]+)"\)\)', TEXT)
    shared = (MODULE / path).resolve()
    assert shared.is_file(), shared
    assert shared.is_relative_to(ROOT / "src" / "reelmill")
    table = resource("aws_dynamodb_table", "jobs")
    assert table["hash_key"] == "${local.hash_key}"
    assert table["range_key"] == "${local.table.range_key}"
    assert table["deletion_protection_enabled"] == "${var.deletion_protection}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_end_in_one_line_break_and_have_no_tabs(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("}\n") and not text.endswith("\n\n")
    assert "\t" not in text
