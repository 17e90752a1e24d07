"""What runs remember of earlier ones: failures, causes of trouble, and what operators order of single executions."""
