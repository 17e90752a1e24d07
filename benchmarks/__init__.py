"""Side-by-side measurements: product and peer in turn, on the same data, in the same run."""
