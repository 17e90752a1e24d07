-- Operators name executions by uuid. The platform's table has an index for that or has none; this one is on the
-- program's own. By hashes: nothing asks for an order, and a tree of uuids takes twice the room.
CREATE INDEX janitor_migrations_uuid ON janitor_migrations USING hash (uuid);
