"""Amazon S3, MinIO, and what speaks like them."""
