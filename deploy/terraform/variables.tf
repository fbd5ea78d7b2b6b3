variable "bucket_name" {
  description = "Name of the bucket for videos and results; one in the world has it."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "3 to 63 lower-case letters, digits and hyphens; no dot, or certificates don't match."
  }
}

variable "cors_origins" {
  description = "Web pages that may upload to the bucket: those of REELMILL_CORS_ORIGINS."
  type        = list(string)
  default     = ["*"]

  validation {
    condition     = length(var.cors_origins) > 0 && alltrue([for one in var.cors_origins : can(regex("^([*]|https?://[^/]+)$", one))])
    error_message = "Each is * or like https://video.example, without a path."
  }
}

variable "kms_key_arn" {
  description = "KMS key that encrypts bucket and table. Default: Amazon's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:", var.kms_key_arn))
    error_message = "It is like arn:aws:kms:eu-central-1:123456789012:key/…"
  }
}

variable "versioning" {
  description = "Keep deleted objects for 30 days. Reelmill writes each object once, so this is against people's mistakes only."
  type        = bool
  default     = false
}

variable "create_table" {
  description = "Make the DynamoDB table. false where the jobs are in PostgreSQL."
  type        = bool
  default     = true
}

variable "table_name" {
  description = "Name of the table for jobs."
  type        = string
  default     = "reelmill-jobs"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table_name))
    error_message = "3 to 255 letters, digits, '_', '.' and '-'."
  }
}

variable "hash_key" {
  description = "Name of the table's partition key, which holds the job's id. Default: the one of the shared definition."
  type        = string
  default     = null

  validation {
    condition     = var.hash_key == null || can(regex("^[A-Za-z][A-Za-z0-9_]{0,63}$", var.hash_key))
    error_message = "A letter, then letters, digits and '_', 64 at most."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the table."
  type        = bool
  default     = true
}

variable "role_prefix" {
  description = "Names of the roles: PREFIX-api and PREFIX-worker."
  type        = string
  default     = "reelmill"

  validation {
    condition     = can(regex("^[A-Za-z0-9-]{1,50}$", var.role_prefix))
    error_message = "1 to 50 letters, digits and hyphens."
  }
}

variable "trusted_services" {
  description = "Services whose tasks may take the roles: ecs-tasks.amazonaws.com, ec2.amazonaws.com."
  type        = list(string)
  default     = ["ecs-tasks.amazonaws.com"]
}

variable "eks" {
  description = "Where pods may take the roles: the cluster's OIDC provider, its issuer without https://, and the chart's namespace and full name."
  type = object({
    provider_arn = string
    issuer       = string
    namespace    = string
    release      = optional(string, "reelmill")
  })
  default = null
}
