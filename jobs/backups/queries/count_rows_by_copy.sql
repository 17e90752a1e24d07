-- As count_rows does, where planning a query is no choice. What comes is counted, and thrown away: by this program, or by
-- the server where the role may write its files.
SAVEPOINT janitor_count;
COPY {{source}} TO {{target}}
