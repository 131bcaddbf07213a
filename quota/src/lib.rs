//! Packages, buckets, quota and alerts: what an account is charged, exactly.
