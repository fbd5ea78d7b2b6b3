# The table for jobs, by the definition that `reelmill database create` uses, too.

locals {
  table    = jsondecode(file("${path.module}/../../src/reelmill/stores/dynamo/table.json"))
  hash_key = coalesce(var.hash_key, local.table.hash_key)
  attributes = toset(concat(
    [local.hash_key, local.table.range_key],
    [for index in local.table.indexes : index.hash_key],
    [for index in local.table.indexes : index.range_key],
  ))
}

resource "aws_dynamodb_table" "jobs" {
  count = var.create_table ? 1 : 0

  name                        = var.table_name
  billing_mode                = local.table.billing_mode
  hash_key                    = local.hash_key
  range_key                   = local.table.range_key
  deletion_protection_enabled = var.deletion_protection

  dynamic "attribute" {
    for_each = local.attributes
    content {
      name = attribute.value
      type = "S"
    }
  }

  dynamic "global_secondary_index" {
    for_each = local.table.indexes
    content {
      name               = global_secondary_index.value.name
      hash_key           = global_secondary_index.value.hash_key
      range_key          = global_secondary_index.value.range_key
      projection_type    = global_secondary_index.value.projection
      non_key_attributes = lookup(global_secondary_index.value, "non_key_attributes", null)
    }
  }

  point_in_time_recovery {
    enabled = local.table.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }
}
