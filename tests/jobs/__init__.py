"""Tests of the jobs, each in the folder of its job."""
