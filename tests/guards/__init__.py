"""Guards of the tests themselves: each safety check of the program has a test that turns red without it
(`mutants`), and each promise of the program has a test that shows it (`promises`).
"""
