"""What is special to SFTP."""
