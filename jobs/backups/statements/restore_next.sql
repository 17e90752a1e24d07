-- Each file begins as in a session of its own. A differential commits.
RESET ALL;
