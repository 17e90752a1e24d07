"""Stories as an operator lives them: the real command line, as a process of its own, on real servers."""
