"""Amazon S3, MinIO and compatible servers."""
