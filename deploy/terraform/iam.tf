# What API and workers may do, and nothing else. Both have the same rights: workers store results and sign URLs for
# their own ffmpeg, the API signs for clients, and both clear up. They are two roles so that one can be taken away, and
# so that the log tells who it was. A test compares the actions with the calls in the code.

locals {
  roles = toset(["api", "worker"])
}

data "aws_iam_policy_document" "trust" {
  for_each = local.roles

  dynamic "statement" {
    for_each = length(var.trusted_services) > 0 ? [1] : []
    content {
      actions = ["sts:AssumeRole"]
      principals {
        type        = "Service"
        identifiers = var.trusted_services
      }
    }
  }

  dynamic "statement" {
    for_each = var.eks == null ? [] : [var.eks]
    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value.provider_arn]
      }
      condition {
        test     = "StringEquals"
        variable = "${statement.value.issuer}:sub"
        values   = ["system:serviceaccount:${statement.value.namespace}:${statement.value.release}-${each.key}"]
      }
      condition {
        test     = "StringEquals"
        variable = "${statement.value.issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }
}

data "aws_iam_policy_document" "reelmill" {
  statement {
    sid = "Objects"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:GetObject",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]
    resources = ["${aws_s3_bucket.video_bucket.arn}/*"]
  }

  # Without s3:ListBucket, Amazon answers 403 for an object that isn't there.
  statement {
    sid       = "Bucket"
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.video_bucket.arn]
  }

  dynamic "statement" {
    for_each = aws_dynamodb_table.jobs
    content {
      sid = "Jobs"
      actions = [
        "dynamodb:BatchGetItem",
        "dynamodb:DeleteItem",
        "dynamodb:DescribeTable",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:Scan",
      ]
      resources = [statement.value.arn, "${statement.value.arn}/index/*"]
    }
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_policy" "reelmill" {
  name   = var.role_prefix
  policy = data.aws_iam_policy_document.reelmill.json
}

resource "aws_iam_role" "reelmill" {
  for_each           = local.roles
  name               = "${var.role_prefix}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
}

resource "aws_iam_role_policy_attachment" "reelmill" {
  for_each   = aws_iam_role.reelmill
  role       = each.value.name
  policy_arn = aws_iam_policy.reelmill.arn
}
