"""Brings executions that were stored on an alternate provider to the primary one."""
