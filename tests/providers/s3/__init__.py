"""What is special to S3."""
