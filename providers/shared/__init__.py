"""Shared by several kinds of provider: HTTP requests, object stores, resumed reads."""
