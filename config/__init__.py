"""Settings, plain data types, secrets and logging: what every other folder may import."""
