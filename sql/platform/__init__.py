"""The tables of the platform that hold its configuration: policy, providers, secrets."""
