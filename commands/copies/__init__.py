"""The commands about stored copies: bring executions back, look into a copy, rebuild lost rows."""
