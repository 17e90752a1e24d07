"""What runs remember of earlier ones: providers that failed, and what operators order of single executions."""
