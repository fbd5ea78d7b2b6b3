output "settings" {
  description = "Environment of API and workers."
  value = merge(
    { REELMILL_STORAGE_URL = "s3://${aws_s3_bucket.video_bucket.bucket}?region=${aws_s3_bucket.video_bucket.region}" },
    { for table in aws_dynamodb_table.jobs :
      "REELMILL_DATABASE_URL" => "dynamodb://${table.name}?region=${aws_s3_bucket.video_bucket.region}&hash_key=${table.hash_key}"
    },
  )
}

output "role_arns" {
  description = "The roles of API and workers, by name."
  value       = { for name, role in aws_iam_role.reelmill : name => role.arn }
}
