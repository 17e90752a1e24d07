"""Tests of the files of a backup."""
