# The bucket: private, encrypted, reached by TLS only. Clients come with signed URLs.

resource "aws_s3_bucket" "video_bucket" {
  bucket        = var.bucket_name
  force_destroy = false
}

resource "aws_s3_bucket_public_access_block" "video_bucket" {
  bucket                  = aws_s3_bucket.video_bucket.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "video_bucket" {
  bucket = aws_s3_bucket.video_bucket.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "video_bucket" {
  bucket = aws_s3_bucket.video_bucket.id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_versioning" "video_bucket" {
  bucket = aws_s3_bucket.video_bucket.id
  versioning_configuration {
    status = var.versioning ? "Enabled" : "Suspended"
  }
}

# What `objects/s3_cors.py` asks for; a test compares them.
resource "aws_s3_bucket_cors_configuration" "video_bucket" {
  bucket = aws_s3_bucket.video_bucket.id
  cors_rule {
    allowed_origins = var.cors_origins
    allowed_methods = ["GET", "HEAD", "PUT", "POST", "DELETE"]
    allowed_headers = ["*"]
    expose_headers  = ["ETag", "Content-Range", "Accept-Ranges", "Content-Length", "x-amz-checksum-sha256"]
    max_age_seconds = 3600
  }
}

# Reelmill clears up by itself; these are for an installation that was switched off half-way.
resource "aws_s3_bucket_lifecycle_configuration" "video_bucket" {
  bucket = aws_s3_bucket.video_bucket.id

  rule {
    id     = "abort-unfinished-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  rule {
    id     = "expire-probes"
    status = "Enabled"
    filter {
      prefix = ".probe/"
    }
    expiration {
      days = 1
    }
  }

  rule {
    id     = "expire-deleted-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  depends_on = [aws_s3_bucket_versioning.video_bucket]
}

data "aws_iam_policy_document" "video_bucket" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.video_bucket.arn, "${aws_s3_bucket.video_bucket.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "video_bucket" {
  bucket     = aws_s3_bucket.video_bucket.id
  policy     = data.aws_iam_policy_document.video_bucket.json
  depends_on = [aws_s3_bucket_public_access_block.video_bucket]
}
