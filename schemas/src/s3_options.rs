//! The options of `store.s3_options`: those of the client of S3 that are left to who runs Tally.

/// What `store.s3_options` may have. Timeouts and conditional writes are not left to anybody.
pub const S3_OPTIONS: [&str; 26] = [
    "access_key_id",
    "secret_access_key",
    "session_token",
    "region",
    "default_region",
    "endpoint_url",
    "endpoint_url_sts",
    "virtual_hosted_style_request",
    "unsigned_payload",
    "checksum_algorithm",
    "skip_signature",
    "metadata_endpoint",
    "imdsv1_fallback",
    "container_credentials_relative_uri",
    "container_credentials_full_uri",
    "container_authorization_token_file",
    "web_identity_token_file",
    "role_arn",
    "role_session_name",
    "request_payer",
    "disable_tagging",
    "server_side_encryption",
    "sse_kms_key_id",
    "sse_bucket_key_enabled",
    "sse_customer_key_base64",
    "s3_express",
];

/// Those of them that nobody is shown.
pub(crate) const S3_SECRETS: [&str; 3] =
    ["secret_access_key", "session_token", "sse_customer_key_base64"];
