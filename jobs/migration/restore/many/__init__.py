"""Brings several executions back with one command, each by itself."""
