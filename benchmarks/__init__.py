"""Side-by-side measurements: product and peer in turn, on the same data, in the same run.

Each of `migration`, `restoring`, `jobs` and `scale` holds contests, and knows only `measuring` and `arena`.
"""
