"""Random schemas, random rows and random changes, the same ones for the same seed."""

# ruff: noqa: S608 statements made by chance are what this is for

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

NAMES = ("t", "T", 'q"q', "a b", "select", "ñandú", "x'y", "nl\nnl", "back\\slash", "$$", ":v", "a,b", "(p)", "%s")

COLUMNS = (*NAMES, "n", "found", "sqlstate", "old", "o", "c", "x", "d", "a", "row", "user", "order", "name")
"""Words of SQL and of PL/pgSQL, and what the statements of a differential call their own parts."""

KINDS = {
    "thirds": "3 * {n} + 1",
    "integer": "{n}",
    "bigint": "{n} * 4294967296",
    "text": (
        "CASE {n} % 7 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'a\\tb\\nc\\\\\\\\d' WHEN 3 THEN E'\\\\\\\\.' "
        "ELSE 'v' || {n} END"
    ),
    "numeric": (
        "CASE {n} % 5 WHEN 0 THEN {n} WHEN 1 THEN {n} * 1.0 WHEN 2 THEN 'NaN' WHEN 3 THEN '-Infinity' "
        "ELSE {n} * 1.00 END"
    ),
    "double precision": (
        "CASE {n} % 5 WHEN 0 THEN double precision '-0' WHEN 1 THEN 'NaN' WHEN 2 THEN '5e-324' ELSE {n} / 7.0 END"
    ),
    "real": "CASE {n} % 5 WHEN 0 THEN real '-0' WHEN 1 THEN 'Infinity' WHEN 2 THEN '1e-40' ELSE ({n} / 7.0)::real END",
    "timestamp": (
        "CASE {n} % 5 WHEN 0 THEN timestamp '-infinity' WHEN 1 THEN '4713-01-01 BC' "
        "ELSE timestamp '2024-01-01' + {n} * interval '1 hour 1 microsecond' END"
    ),
    "timestamptz": "timestamptz '2024-01-01' + {n} * interval '1 hour 1 microsecond'",
    "date": "CASE {n} % 9 WHEN 0 THEN 'infinity' ELSE date '2024-01-01' + {n} % 1000 END",
    "interval": "make_interval(months => ({n} % 5)::integer - 2, secs => {n} % 100)",
    "bytea": "decode(md5(({n})::text), 'hex')",
    "jsonb": "jsonb_build_object('k', {n})",
    "json": "('{{\"k\" : ' || {n} || '}}')::json",
    "boolean": "({n}) % 2 = 0",
    "text[]": "ARRAY['a', NULL, 'v' || {n}]",
    "uuid": "md5(({n} % 50)::text)::uuid",
    "int4range": "int4range(({n} % 1000)::integer, NULL)",
    "int4multirange": "int4multirange(int4range(1, 3), int4range(({n} % 1000)::integer + 5, NULL))",
    "bit varying": "({n})::integer::bit(20)::bit varying",
    "character(5)": "'v' || {n} % 100",
    '"char"': 'chr((({n}) % 90 + 33)::integer)::"char"',
    "inet": "inet '10.0.0.0/8' + {n}",
    "tsvector": "('''a b'':1A v' || {n} || ':2')::tsvector",
    "money": "({n} / 100.0)::numeric::money",
    "regclass": "'public.log'::regclass",
    "mood": "(enum_range(NULL::mood))[1 + {n} % 3]",
    "pair": "ROW({n}, CASE {n} % 3 WHEN 0 THEN E'a\"b,(\\\\)\\n' WHEN 1 THEN '' END)::pair",
    "pair[]": "ARRAY[NULL, ROW({n}, 'a b')::pair, ROW(NULL, NULL)::pair]",
    "paired": "ROW({n}, 'c')::pair::paired",
}
UNIQUE = {**KINDS, "text": "'v' || {n}", "numeric": "{n} * 1.0", "uuid": "md5(({n})::text)::uuid"}


@dataclass(slots=True)
class Table:
    """A table of a random schema."""

    name: str
    columns: dict[str, str]
    key: list[str]
    """Its columns' values are told apart by one number."""
    is_partitioned: bool = False
    can_be_referred_to: bool = False
    is_alone: bool = True
    """It refers to no other one, and no other one to it."""
    is_revoked: bool = False
    """Its owner may neither insert into it nor delete from it, but for the length of each change."""
    check: str = ""
    """What drops and adds a constraint that no row fulfils, and that is set aside for each change."""
    values: dict[str, str] = field(default_factory=dict)


def quoted(name: str) -> str:
    """As PostgreSQL reads it."""
    return '"' + name.replace('"', '""') + '"'


SHAPES = ("heap", "key", "key", "key", "unique", "partitioned", "nested", "identity", "collated", "heir")
PARTITIONED_BY = {"partitioned": " PARTITION BY HASH (k)", "nested": " PARTITION BY LIST (m)"}


def _partitions(name: str, shape: str) -> Iterator[str]:
    """Those of the second shape have partitions themselves, by the hash of an enum: pg_dump names their root."""
    if shape == "partitioned":
        for part in range(3):
            yield _partition(f"{name} part {part}", name, f"FOR VALUES WITH (MODULUS 3, REMAINDER {part})")
    if shape == "nested":
        yield _partition(f"{name} sad", name, "FOR VALUES IN ('sad')")
        yield _partition(f"{name} rest", name, "DEFAULT PARTITION BY HASH (m)")
        for part in range(2):
            values = f"FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
            yield _partition(f"{name} rest {part}", f"{name} rest", values)


def _partition(name: str, parent: str, values: str) -> str:
    return f"CREATE TABLE {quoted(name)} PARTITION OF {quoted(parent)} {values}"


class RandomDatabase:
    """Statements that make a database, and that change it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 no secret
        self._tables: list[Table] = []
        self._numbers = 0

    def schema(self) -> Iterator[str]:
        """Make tables, and what acts on them."""
        yield "CREATE TABLE log (what text)"
        yield (
            "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO public.log VALUES (TG_OP); RETURN NULL; END'"
        )
        yield "CREATE DOMAIN thirds AS integer"
        yield "CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glad')"
        yield "CREATE TYPE pair AS (x integer, y text)"
        yield "CREATE DOMAIN paired AS pair CHECK ((VALUE).y = 'c')"
        yield "CREATE TABLE divisor (d integer)"
        yield "INSERT INTO divisor VALUES (1)"
        for number in range(self._random.randint(2, 6)):
            yield from self._table(number)
        yield "CREATE SEQUENCE counter"
        yield f"CREATE MATERIALIZED VIEW view AS SELECT count(*) AS n FROM {quoted(self._tables[0].name)}"
        yield "CREATE MATERIALIZED VIEW over_view AS SELECT n FROM view"
        yield "CREATE MATERIALIZED VIEW divided AS SELECT 1 / d AS n FROM divisor"
        if self._random.random() < 0.5:
            yield "CREATE MATERIALIZED VIEW emptied AS SELECT 1 AS n"
            yield "CREATE MATERIALIZED VIEW over_emptied AS SELECT n FROM emptied"
            yield "REFRESH MATERIALIZED VIEW emptied WITH NO DATA"

    def _table(self, number: int) -> Iterator[str]:
        chance = self._random
        name = f"{chance.choice(NAMES)}{number}"
        kinds = chance.sample(list(KINDS), chance.randint(1, 5))
        columns = dict(zip(chance.sample(COLUMNS, len(kinds)), kinds, strict=True))
        table = Table(name, columns, [])
        shape = chance.choice(SHAPES)
        if shape == "heir" and (heir := self._heir(name)) is not None:
            yield heir
            return
        definitions = [f"{quoted(column)} {kind}" for column, kind in columns.items()]
        if shape in ("key", "unique", "partitioned"):
            key_kind = chance.choice(("integer", "bigint", "numeric", "timestamptz"))
            table.columns["k"] = key_kind
            table.key, table.can_be_referred_to = ["k"], True
            constraint = "PRIMARY KEY" if shape != "unique" else "NOT NULL UNIQUE"
            definitions.insert(chance.randint(0, len(definitions)), f"k {key_kind} {constraint}")
        if shape == "nested":
            table.columns |= {"k": "integer", "m": "mood"}
            table.key = ["k"]
            definitions += ["k integer", "m mood", "PRIMARY KEY (m, k)"]
        if shape == "collated":
            table.columns["w"] = "text"
            table.key = ["w"]
            definitions.insert(chance.randint(0, len(definitions)), "w text NOT NULL")
        if shape == "identity":
            definitions.insert(
                0, f"i integer GENERATED {chance.choice(('ALWAYS', 'BY DEFAULT'))} AS IDENTITY PRIMARY KEY"
            )
        if chance.random() < 0.3:
            definitions.append("g text GENERATED ALWAYS AS ('g') STORED")
        table.is_partitioned = shape in PARTITIONED_BY
        has_dropped = not table.is_partitioned and chance.random() < 0.3
        if has_dropped:
            definitions.insert(0, "dropped integer")
        yield f"CREATE TABLE {quoted(name)} ({', '.join(definitions)}){PARTITIONED_BY.get(shape, '')}"
        if has_dropped:
            yield f"ALTER TABLE {quoted(name)} DROP dropped"
        yield from _partitions(name, shape)
        yield from self._what_acts(table, shape)
        self._tables.append(table)

    def _heir(self, name: str) -> str | None:
        """A table that inherits from another one, if there is one with columns."""
        parents = [other for other in self._tables if other.columns and not other.is_partitioned]
        if not parents:
            return None
        parent = self._random.choice(parents)
        parent.is_alone = False
        heir = Table(name, dict(parent.columns), list(parent.key), is_alone=False, values=dict(parent.values))
        self._tables.append(heir)
        return f"CREATE TABLE {quoted(name)} () INHERITS ({quoted(parent.name)})"

    def _what_acts(self, table: Table, shape: str) -> Iterator[str]:
        chance = self._random
        if shape == "collated":
            yield f'CREATE UNIQUE INDEX ON {quoted(table.name)} (w COLLATE "POSIX")'
        if not table.is_partitioned and chance.random() < 0.2:
            table.check = f"ALTER TABLE {quoted(table.name)} {{}} CONSTRAINT never"
        referenced = [other for other in self._tables if other.can_be_referred_to]
        if shape == "identity" and chance.random() < 0.7:
            name = quoted(table.name)
            yield f"ALTER TABLE {name} ADD parent integer REFERENCES {name} ON DELETE CASCADE"
            table.is_alone = False
        if referenced and chance.random() < 0.6:
            other = chance.choice(referenced)
            action = chance.choice(("CASCADE", "SET NULL", "SET DEFAULT"))
            deferred = chance.choice(("", " DEFERRABLE INITIALLY DEFERRED"))
            yield (
                f"ALTER TABLE {quoted(table.name)} ADD r {other.columns['k']} REFERENCES {quoted(other.name)} (k) "
                f"ON DELETE {action} ON UPDATE CASCADE{deferred}"
            )
            yield f"COMMENT ON COLUMN {quoted(table.name)}.r IS 'refers'"
            table.values["r"] = f"(SELECT min(k) FROM {quoted(other.name)})"
            table.is_alone = other.is_alone = False
        if chance.random() < 0.3:
            events = f"AFTER INSERT OR DELETE ON {quoted(table.name)}"
            yield f"CREATE TRIGGER acts {events} FOR EACH ROW EXECUTE FUNCTION act()"
            state = chance.choice(("", "ALWAYS ", "REPLICA "))
            if state:
                yield f"ALTER TABLE {quoted(table.name)} ENABLE {state}TRIGGER acts"
        if chance.random() < 0.2:
            yield f"CREATE INDEX ON {quoted(table.name)} ((1)) WHERE false"

    def rows(self) -> Iterator[str]:
        """Fill the tables."""
        for table in self._tables:
            yield self._insert(table, self._random.choice((0, 1, 50, 400)))
            for column, kind in table.columns.items():
                if kind == "thirds":
                    name = quoted(column)
                    yield f"UPDATE {quoted(table.name)} SET {name} = {name} - 1 WHERE random() < 0.5"
            if table.check:
                yield table.check.format("ADD") + " CHECK (false) NOT VALID"
            table.is_revoked = table.is_alone and self._random.random() < 0.3
            if table.is_revoked:
                yield f"REVOKE INSERT, DELETE, TRUNCATE ON {quoted(table.name)} FROM CURRENT_USER"
        yield "ALTER DOMAIN thirds ADD CONSTRAINT third CHECK (VALUE % 3 = 1) NOT VALID"
        yield "REFRESH MATERIALIZED VIEW over_view"

    def _insert(self, table: Table, count: int) -> str:
        first = self._numbers + 1
        self._numbers += count
        expressions = {
            quoted(column): (UNIQUE if column in table.key else KINDS)[kind].format(n="g")
            for column, kind in table.columns.items()
        } | {column: f"CASE g % 2 WHEN 0 THEN {value} END" for column, value in table.values.items()}
        return (
            f"INSERT INTO {quoted(table.name)} ({', '.join(expressions)}) "
            f"SELECT {', '.join(expressions.values())} FROM generate_series({first}, {self._numbers}) g"
        )

    def changes(self) -> Iterator[str]:
        """A day in its life."""
        for _ in range(self._random.randint(0, 12)):
            table = self._random.choice(self._tables)
            if table.check:
                yield table.check.format("DROP")
            if table.is_revoked:
                yield f"GRANT ALL ON {quoted(table.name)} TO CURRENT_USER"
            yield from self._change(table)
            if table.is_revoked:
                yield f"REVOKE INSERT, DELETE, TRUNCATE ON {quoted(table.name)} FROM CURRENT_USER"
            if table.check:
                yield table.check.format("ADD") + " CHECK (false) NOT VALID"
        yield f"UPDATE divisor SET d = {self._random.randint(0, 1)}"
        if self._random.random() < 0.5:
            yield "SELECT nextval('counter')"
        if self._random.random() < 0.3:
            yield f"SELECT lo_from_bytea({self._random.randint(90000, 99999)}, 'large')"
        yield "REFRESH MATERIALIZED VIEW view"

    def _change(self, table: Table) -> Iterator[str]:
        chance = self._random
        name = quoted(table.name)
        row = "k" if table.is_partitioned else "ctid"
        order, limit = f"md5({row}::text || '{chance.random()}')", chance.choice((1, 3, 30))
        some = f"WHERE {row} IN (SELECT {row} FROM {name} ORDER BY {order} LIMIT {limit})"
        column = chance.choice([column for column in table.columns if column not in table.key] or table.key)
        match chance.choice(("insert", "update", "update", "delete", "delete", "rewrite", "truncate", "move", "keys")):
            case "insert":
                yield self._insert(table, chance.choice((1, 5, 60)))
            case "update" if column not in table.key:
                self._numbers += 1
                value = KINDS[table.columns[column]].format(n=str(self._numbers))
                yield f"UPDATE {name} SET {quoted(column)} = {value} {some}"
            case "delete":
                yield f"DELETE FROM {name} {some}"
            case "rewrite":
                yield f"VACUUM FULL {name}"
            case "truncate" if chance.random() < 0.2:
                yield f"TRUNCATE {name} CASCADE"
            case "move" if table.columns:
                yield f"UPDATE {name} SET {quoted(column)} = {quoted(column)}"
            case "keys" if table.columns.get("k", "timestamptz") != "timestamptz":
                self._numbers += 1000
                yield f"UPDATE {name} SET k = k + {self._numbers} {some}"
