"""Settings, plain data types, secrets and logging: the room every other room may import."""
