"""Secrets at rest: encrypted by the first key, never two of one name, rotated all or none in spite of others."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest
from cryptography.fernet import Fernet

from commands.secret_store import (
    LARGEST_SECRET_BYTES,
    TRIES_OF_ROTATION,
    SecretRefused,
    force_removal,
    list_secrets,
    read_secret,
    remove_secret,
    rotate_secrets,
    set_secret,
)
from config import logs
from config.fields import FieldError
from config.logs import Redactor
from config.models import ProviderRow
from config.secrets import KEYS_VARIABLE, PUT_KEY_BACK, SecretKeys
from demo.servers.postgres import EmbeddedPostgres
from sql.database import Database
from sql.errors import DatabaseError
from sql.platform.stored_secrets import StoredSecret
from tests.databases.platform_database import Platform
from tests.processes import wait_until

SECRET = "no-debe-verse ñ\n\tsegunda línea\n"
OLD_KEY, NEW_KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(3))

TABLES = {
    "as init-db makes it": "CREATE TABLE secretos_nube (nombre TEXT PRIMARY KEY, valor_cifrado TEXT NOT NULL)",
    "bytes, names not unique": "CREATE TABLE secretos_nube (valor_cifrado BYTEA, nombre VARCHAR(255))",
    "further columns": "CREATE TABLE secretos_nube (id SERIAL PRIMARY KEY, nombre VARCHAR(255) UNIQUE NOT NULL, "
    "valor_cifrado VARCHAR(4000), creado TIMESTAMP NOT NULL DEFAULT now(), autor TEXT)",
}


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for these tests."""
    with closing(Platform(postgres.new_database(f"secrets_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture(params=TABLES)
def each_platform(shared_platform: Platform, request: pytest.FixtureRequest) -> Platform:
    """The platform's database, its table of secrets empty, as each installation may have made it."""
    return with_table(shared_platform, TABLES[request.param])


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The same with a table in which nothing makes names unique."""
    return with_table(shared_platform, TABLES["bytes, names not unique"])


def with_table(platform: Platform, definition: str) -> Platform:
    """The platform with an empty table of secrets so defined, and without providers."""
    platform.clear()
    platform.sql("DROP TABLE IF EXISTS secretos_nube")
    platform.sql(definition)
    return platform


@pytest.fixture(autouse=True)
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """A redactor that knows nothing yet, in place of the process's own, and the newer key first."""
    monkeypatch.setenv(KEYS_VARIABLE, f"{NEW_KEY},{OLD_KEY}")
    fresh = Redactor()
    monkeypatch.setattr(logs, "redactor", fresh)
    return fresh


def store(platform: Platform, name: str, value: str = SECRET, key: str | None = None) -> bool:
    """Set a secret, with another key than the newest if one is named."""
    with closing(Database(platform.database_url, "writer")) as database:
        if key is None:
            return set_secret(database, name, lambda: value)
        return database.stored_secrets.store(name, SecretKeys([Fernet(key)]).encrypt(value))


def opened(platform: Platform, *keys: str) -> dict[str, str]:
    """Every secret as these keys open it."""
    ring = SecretKeys([Fernet(key) for key in keys])
    found = {secret.name: ring.open(secret.token) for secret in platform.database().stored_secrets.all()}
    return {name: answer[1].decode() if answer else "(closed)" for name, answer in found.items()}


def column(platform: Platform) -> list[str]:
    """What is stored, as it is."""
    return [row["line"] for row in platform.sql("SELECT s::text AS line FROM secretos_nube AS s ORDER BY nombre")]


def count(platform: Platform) -> int:
    """How many rows there are."""
    return int(platform.value("SELECT count(*) FROM secretos_nube"))


# Storing


def test_a_secret_is_stored_encrypted_and_resolved_for_its_provider(each_platform: Platform) -> None:
    each_platform.add_provider("sftp", {}, {"private_key": {"secreto": "clave"}})
    assert store(each_platform, "clave") is False
    (row,) = each_platform.database().load_provider_rows()
    assert isinstance(row, ProviderRow)
    assert row.credentials == {"private_key": SECRET}
    assert "no-debe-verse" not in column(each_platform)[0]
    assert opened(each_platform, NEW_KEY) == {"clave": SECRET}


def test_a_secret_of_the_same_name_takes_the_place_of_the_one_before(each_platform: Platform) -> None:
    store(each_platform, "otra", "se queda")
    assert [store(each_platform, "clave", value) for value in ("uno", "dos", "dos")] == [False, True, True]
    assert opened(each_platform, NEW_KEY) == {"clave": "dos", "otra": "se queda"}
    assert count(each_platform) == 2


def test_a_writer_waits_for_another_one_and_leaves_one_secret(platform: Platform) -> None:
    """The other writer is the platform itself, say, which knows nothing of ours and has not committed yet."""
    token = Fernet(NEW_KEY).encrypt(b"uno")
    with closing(psycopg2.connect(platform.database_url)) as other, ThreadPoolExecutor(1) as executor:
        with other.cursor() as cursor:
            cursor.execute("INSERT INTO secretos_nube (nombre, valor_cifrado) VALUES ('clave', %s)", (token,))
        ours = executor.submit(store, platform, "clave", "dos")
        wait_until(lambda: ours.done() or platform.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), 20)
        other.commit()
        assert ours.result() is True
    assert opened(platform, NEW_KEY) == {"clave": "dos"}
    assert count(platform) == 1


def test_two_values_of_one_name_are_reported_and_set_makes_them_one(platform: Platform) -> None:
    platform.add_provider("sftp", {}, {"password": {"secreto": "clave"}})
    for value in ("uno", "dos"):
        token = Fernet(NEW_KEY).encrypt(value.encode())
        platform.sql("INSERT INTO secretos_nube (nombre, valor_cifrado) VALUES ('clave', %s)", token)
    ((_, problem),) = platform.database().load_provider_rows()  # type: ignore[misc]
    assert str(problem) == "el secreto 'clave' tiene varios valores distintos en secretos_nube"
    assert {listing.state for listing in list_secrets(platform.database())} == {"tiene varios valores distintos"}
    assert store(platform, "clave", "tres") is True
    assert opened(platform, NEW_KEY) == {"clave": "tres"}
    (row,) = platform.database().load_provider_rows()
    assert isinstance(row, ProviderRow)
    assert row.credentials == {"password": "tres"}


@pytest.mark.parametrize("name", ["x" * 255, "ñ 名", "' OR true --", '"', "%s", "\\x41", "{}"])
def test_any_printable_name_will_do(platform: Platform, name: str) -> None:
    assert store(platform, name) is False
    assert store(platform, name, "otro") is True
    assert opened(platform, NEW_KEY) == {name: "otro"}
    remove_secret(platform.database(), name)
    assert count(platform) == 0


@pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\nb", "a\x00b", "\x1b[31m", "\u202ea", "\ud800"])
def test_other_names_are_refused_before_anything_is_asked(platform: Platform, name: str) -> None:
    with pytest.raises(SecretRefused, match="de 1 a 255 caracteres imprimibles"):
        set_secret(platform.database(), name, lambda: pytest.fail("asked"))
    assert count(platform) == 0


@pytest.mark.parametrize(
    ("keys", "reason"),
    [(None, "falta la variable"), (" ,", "falta la variable"), (f"{NEW_KEY},{SECRET}", "la clave número 2 no es")],
    ids=["none", "only separators", "a second one that is no key"],
)
def test_without_good_keys_nothing_is_asked_or_done(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, keys: str | None, reason: str
) -> None:
    store(platform, "clave")
    before = column(platform)
    if keys is None:
        monkeypatch.delenv(KEYS_VARIABLE)
    else:
        monkeypatch.setenv(KEYS_VARIABLE, keys)
    commands: list[Callable[[Database], object]] = [
        lambda database: set_secret(database, "clave", lambda: pytest.fail("asked")),
        lambda database: list(list_secrets(database)),
        rotate_secrets,
    ]
    for command in commands:
        with pytest.raises(FieldError, match=reason) as caught:
            command(platform.database())
        assert "no-debe-verse" not in str(caught.value)
    assert column(platform) == before


def test_an_empty_value_is_refused(platform: Platform) -> None:
    with pytest.raises(SecretRefused, match="vacío"):
        store(platform, "clave", "")
    assert count(platform) == 0


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE TABLE secretos_nube (nombre TEXT, valor_cifrado VARCHAR(50))",
        "CREATE TABLE secretos_nube (nombre TEXT, valor_cifrado TEXT, autor TEXT NOT NULL)",
        "CREATE VIEW secretos_nube AS SELECT 'a'::text AS nombre, 'b'::text AS valor_cifrado",
    ],
    ids=["too short", "needs more", "a view"],
)
def test_a_table_that_takes_no_secret_says_so_without_it(shared_platform: Platform, definition: str) -> None:
    platform = with_table(shared_platform, "SELECT 1")
    platform.sql(definition)
    try:
        with pytest.raises(DatabaseError) as caught:
            store(platform, "clave")
        assert "no-debe-verse" not in str(caught.value)
    finally:
        platform.sql(f"DROP {definition.split()[1]} secretos_nube")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"clave", "clave"),
        (b"clave\n", "clave"),
        (b"clave\r\n", "clave"),
        (b"clave\n\n", "clave\n"),
        (b"clave\r", "clave\r"),
        (b" \tclave ", " \tclave "),
        (b"-----BEGIN\r\nAAAA\n-----END\n", "-----BEGIN\r\nAAAA\n-----END"),
        ("{\n  \"ñ\": 1\n}\n".encode(), "{\n  \"ñ\": 1\n}"),
        (b"\x00\x1b", "\x00\x1b"),
        (b"\n", ""),
        (b"", ""),
    ],
)  # fmt: skip
def test_standard_input_is_taken_as_it_is_but_for_one_line_end(content: bytes, value: str) -> None:
    assert read_secret(io.BytesIO(content)) == value


@pytest.mark.parametrize(
    ("content", "reason"), [(b"no-debe-verse\xff", "UTF-8"), (b"n" * (LARGEST_SECRET_BYTES + 1), "más de 1048576")]
)
def test_what_cannot_be_a_secret_is_refused_unseen(content: bytes, reason: str) -> None:
    with pytest.raises(SecretRefused, match=reason) as caught:
        read_secret(io.BytesIO(content))
    assert "nnn" not in str(caught.value)
    assert "no-debe-verse" not in str(caught.value)


# Listing


def test_the_list_tells_keys_and_providers_and_never_a_value(each_platform: Platform) -> None:
    each_platform.add_provider("s3", {}, {"secret_key": {"secreto": "actual"}})
    each_platform.add_provider("gcp", {}, {"secreto": "actual"})
    each_platform.sql("UPDATE cloud_providers SET activo = NULL, nombre = E'Dos\\n' WHERE nombre = 'gcp'")
    each_platform.add_provider("minio", {}, {"secret_key": {"secreto": "falta"}})
    store(each_platform, "actual")
    store(each_platform, "anterior", key=OLD_KEY)
    store(each_platform, "ajeno", key=OTHER_KEY)
    lines = [str(listing) for listing in list_secrets(each_platform.database())]
    assert lines == [
        "actual: cifrado con la clave actual; lo usa s3, Dos\\n (inactivo)",
        "ajeno: NO SE PUEDE DESCIFRAR con JANITOR_SECRET_KEYS; no lo usa ningún proveedor",
        "anterior: cifrado con una clave anterior (la número 2); no lo usa ningún proveedor",
        "falta: NO EXISTE; lo usa minio",
    ]


@pytest.mark.parametrize("value", [None, "", "no es nada", "\\xzz", "\\x", "ñ"])
def test_a_row_that_holds_no_token_is_reported_and_stops_its_provider_alone(
    shared_platform: Platform, value: str | None
) -> None:
    platform = with_table(shared_platform, "CREATE TABLE secretos_nube (nombre TEXT, valor_cifrado TEXT)")
    platform.sql("INSERT INTO secretos_nube VALUES ('clave', %s), (NULL, 'x')", value)
    platform.add_provider("sftp", {}, {"password": {"secreto": "clave"}})
    platform.add_provider("local", {"ruta": "/x"})
    (_, problem), good = platform.database().load_provider_rows()  # type: ignore[misc]
    assert isinstance(good, ProviderRow)
    assert str(problem) == "ninguna clave de JANITOR_SECRET_KEYS abre el secreto 'clave': " + PUT_KEY_BACK
    (listing,) = list_secrets(platform.database())
    assert listing.state.startswith("NO SE PUEDE DESCIFRAR")
    with pytest.raises(SecretRefused, match="'clave'"):
        rotate_secrets(platform.database())


# Rotation


def test_rotation_leaves_all_to_the_first_key_alone(each_platform: Platform) -> None:
    values = {f"secreto {number:02d}": f"{SECRET}{number}" for number in range(20)}
    for name, value in values.items():
        store(each_platform, name, value, key=OLD_KEY if name < "secreto 10" else NEW_KEY)
    for _ in range(2):
        assert rotate_secrets(each_platform.database()) == 20
        assert opened(each_platform, NEW_KEY) == values
    assert set(opened(each_platform, OLD_KEY).values()) == {"(closed)"}


def test_rotation_of_nothing_is_done_at_once(platform: Platform) -> None:
    assert rotate_secrets(platform.database()) == 0


def test_rotation_is_refused_whole_when_one_cannot_be_opened(each_platform: Platform) -> None:
    store(each_platform, "abierta", key=OLD_KEY)
    store(each_platform, "ajena 1", key=OTHER_KEY)
    store(each_platform, "ajena 2", key=OTHER_KEY)
    before = column(each_platform)
    with pytest.raises(SecretRefused, match="abre 'ajena 1', 'ajena 2'; no se cambió ninguno"):
        rotate_secrets(each_platform.database())
    assert column(each_platform) == before


class Meddled:
    """A database in which something happens each time after the secrets were read."""

    def __init__(self, database: Database, meddle: Callable[[], object], times: int) -> None:
        self.stored_secrets = self
        self.replace = database.stored_secrets.replace
        self._load = database.stored_secrets.all
        self._meddle = meddle
        self.times_left = times

    def all(self) -> list[StoredSecret]:
        """Read, and let it happen."""
        secrets = self._load()
        if self.times_left:
            self.times_left -= 1
            self._meddle()
        return secrets


MEDDLING: dict[str, tuple[Callable[[Platform], object], dict[str, str]]] = {
    "another value": (lambda platform: store(platform, "a", "nuevo", key=OLD_KEY), {"a": "nuevo", "b": "b"}),
    "one more": (lambda platform: store(platform, "c", "c", key=OLD_KEY), {"a": "a", "b": "b", "c": "c"}),
    "one less": (lambda platform: force_removal(platform.database(), "a"), {"b": "b"}),
    "another rotation": (lambda platform: rotate_secrets(platform.database()), {"a": "a", "b": "b"}),
}


@pytest.mark.parametrize("case", MEDDLING)
def test_what_is_stored_during_a_rotation_is_neither_lost_nor_left_with_an_older_key(
    each_platform: Platform, case: str
) -> None:
    meddle, wanted = MEDDLING[case]
    for name in ("a", "b"):
        store(each_platform, name, name, key=OLD_KEY)
    meddled = Meddled(each_platform.database(), lambda: meddle(each_platform), times=1)
    assert rotate_secrets(meddled) == len(wanted)  # type: ignore[arg-type]
    assert meddled.times_left == 0
    assert opened(each_platform, NEW_KEY) == wanted
    assert count(each_platform) == len(wanted)


def test_a_rotation_that_is_disturbed_for_ever_gives_up_and_has_changed_nothing(platform: Platform) -> None:
    values = iter(map(str, range(100)))
    meddled = Meddled(platform.database(), lambda: store(platform, "a", next(values), key=OLD_KEY), times=100)
    store(platform, "b", key=OLD_KEY)
    with pytest.raises(SecretRefused, match="no se cambió ninguno, repítalo"):
        rotate_secrets(meddled)  # type: ignore[arg-type]
    assert meddled.times_left == 100 - TRIES_OF_ROTATION
    assert opened(platform, OLD_KEY) == {"a": str(TRIES_OF_ROTATION - 1), "b": SECRET}


def test_rotations_and_writers_at_once_lose_nothing(platform: Platform) -> None:
    """Three hosts store and two rotate at the same time; a last rotation then leaves all to the first key."""
    last: dict[str, str] = {}

    def write(host: int) -> None:
        for number in range(10):
            name, value = f"{host}-{number % 3}", f"{host} {number}"
            store(platform, name, value, key=(OLD_KEY, NEW_KEY)[number % 2])
            last[name] = value

    def rotate(_host: int) -> None:
        for _ in range(10):
            try:
                rotate_secrets(platform.database())
            except SecretRefused as refused:
                assert "repítalo" in str(refused)  # noqa: PT017 - only that refusal is allowed

    with ThreadPoolExecutor(5) as executor:
        writing = [executor.submit(write, host) for host in range(3)]
        rotating = [executor.submit(rotate, host) for host in range(2)]
        for future in (*writing, *rotating):
            future.result()
    rotate_secrets(platform.database())
    assert opened(platform, NEW_KEY) == last
    assert count(platform) == len(last) == 9


# Removal


def test_a_secret_that_an_active_provider_names_is_removed_by_force_only(each_platform: Platform) -> None:
    each_platform.add_provider("s3", {}, {"secret_key": {"secreto": "usada"}})
    store(each_platform, "usada")
    store(each_platform, "libre")
    with pytest.raises(SecretRefused, match="el secreto 'usada' lo usa s3; con --force se borra igualmente"):
        remove_secret(each_platform.database(), "usada")
    remove_secret(each_platform.database(), "libre")
    assert opened(each_platform, NEW_KEY) == {"usada": SECRET}
    force_removal(each_platform.database(), "usada")
    assert count(each_platform) == 0


def test_a_secret_that_only_inactive_providers_name_is_removed(platform: Platform) -> None:
    platform.add_provider("s3", {}, {"secret_key": {"secreto": "clave"}})
    platform.sql("UPDATE cloud_providers SET activo = false")
    store(platform, "clave")
    remove_secret(platform.database(), "clave")
    assert count(platform) == 0


def test_a_secret_that_is_not_there_is_reported(platform: Platform) -> None:
    for remove in (remove_secret, force_removal):
        with pytest.raises(SecretRefused, match="no existe el secreto 'nada' en secretos_nube"):
            remove(platform.database(), "nada")
