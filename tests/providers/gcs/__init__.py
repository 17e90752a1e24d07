"""What is special to Google Cloud Storage."""
