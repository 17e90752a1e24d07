"""The commands `status` and `health`: facts are collected, judged, and then told in words or as JSON."""
