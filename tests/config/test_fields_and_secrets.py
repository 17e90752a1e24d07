"""Fields of a provider's row are told by name and never by value; secrets are opened by the right key alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet, MultiFernet

from config import logs
from config.fields import FieldError, Fields, is_plain_url
from config.logs import Redactor
from config.models import ProviderRow
from config.secrets import KEYS_VARIABLE, SECRET_FIELDS, literal_secrets, named_secrets, resolve_secrets
from tests.databases.platform_database import Platform

HIDDEN = "no-debe-verse"
OLD_KEY, NEW_KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(3))


def fields(**values: object) -> Fields:
    """The fields of a column `credenciales`."""
    return Fields("credenciales", values)


def test_absent_null_and_empty_are_the_same() -> None:
    for given in (fields(), fields(x=None), fields(x="")):
        assert given.text("x") is None
        assert given.text("x", "default") == "default"
        assert given.integer("x", 7, 1, 9) == 7
    assert fields().boolean("x", True) is True
    assert fields(x=None).boolean("x", False) is False


def test_good_values_are_given_as_they_are() -> None:
    assert fields(x=" a ").text("x") == " a "
    assert fields(x="a").required_text("x") == "a"
    assert [fields(x=value).integer("x", 0, 1, 65535) for value in (1, 65535, "22", " 22 ")] == [1, 65535, 22, 22]
    assert [fields(x=value).boolean("x", not value) for value in (True, False)] == [True, False]


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\r\n\x08", "\ud800"])
def test_a_character_that_no_library_expects_is_reported_by_field(character: str) -> None:
    for text in (f"a{character}b", character, f"{HIDDEN}{character}"):
        with pytest.raises(FieldError, match=r"^credenciales\.x: tiene un carácter nulo o de control$"):
            fields(x=text).text("x")


def test_the_lines_of_a_key_are_text() -> None:
    for text in ("a\nb\n", "a\r\nb", "a\tb", "contraseña \u00a0 \U0001f600"):
        assert fields(x=text).text("x") == text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        *[("https://a.example", True), ("http://127.0.0.1:9000/", True), ("http://[::1]:9", True)],
        *[
            ("ftp://a", False),
            ("https://", False),
            ("a.example", False),
            ("https://a?b", False),
            ("https://a#b", False),
        ],
        *[("https://u:p@a", False), ("http://[", False), ("http://a[b", False), ("http://a\u202eb", False)],
    ],
)
def test_a_plain_address_has_a_host_and_nothing_more(text: str, plain: bool) -> None:
    assert is_plain_url(text) is plain


BAD_TEXTS: list[object] = [1, True, 0, False, [HIDDEN], {"a": HIDDEN}]
BAD_NUMBERS: list[object] = [
    0, -1, 65536, "0", "65536", "-1", "1.0", 1.0, "0x16", "1_0", "+22", "²", "9" * 5000, HIDDEN, True, False, [22], {},
]  # fmt: skip
BAD_TRUTHS: list[object] = [1, 0, "true", "", HIDDEN, [True]]


def require_told(read: Callable[[str], object]) -> None:
    """Reading the field `x` fails with its name, and without its value."""
    with pytest.raises(FieldError, match=r"^credenciales\.x: ") as caught:
        read("x")
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize("value", BAD_TEXTS)
def test_what_is_no_text_is_reported(value: object) -> None:
    require_told(fields(x=value).text)
    require_told(fields(x=value).required_text)


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_text_is_reported(value: object) -> None:
    require_told(fields(x=value).required_text)
    require_told(fields().required_text)


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda value: repr(value)[:10])
def test_what_is_no_number_in_bounds_is_reported(value: object) -> None:
    require_told(lambda name: fields(x=value).integer(name, 22, 1, 65535))


@pytest.mark.parametrize("value", BAD_TRUTHS)
def test_what_is_no_truth_value_is_reported(value: object) -> None:
    require_told(lambda name: fields(x=value).boolean(name, False))


def encrypted(text: str, key: str = NEW_KEY) -> bytes:
    """What `secretos_nube` holds."""
    return Fernet(key).encrypt(text.encode())


@pytest.fixture(autouse=True)
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """A redactor that knows nothing yet, in place of the process's own, and the two good keys."""
    monkeypatch.setenv(KEYS_VARIABLE, f"{NEW_KEY},{OLD_KEY}")
    fresh = Redactor()
    monkeypatch.setattr(logs, "redactor", fresh)
    return fresh


def test_names_are_replaced_at_any_depth() -> None:
    secrets = {"clave": encrypted("uno"), "pem": encrypted("dos\nñ", OLD_KEY)}
    credentials = {"host": "h", "password": {"secreto": "clave"}, "deep": {"deeper": {"secreto": "pem"}}, "n": 1}
    resolved = resolve_secrets(credentials, secrets.get)
    assert resolved == {"host": "h", "password": "uno", "deep": {"deeper": "dos\nñ"}, "n": 1}
    assert resolve_secrets({"secreto": "clave"}, secrets.get) == "uno"


@pytest.mark.parametrize(
    "literal", [None, "clave", 5, {}, {"secreto": 5}, {"secreto": "a", "b": "c"}, {"secreto": None}, {"Secreto": "a"}]
)
def test_what_names_no_secret_is_left_alone(literal: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE)
    assert resolve_secrets({"x": literal}, lambda name: pytest.fail(f"asked for {name}")) == {"x": literal}


@pytest.mark.parametrize("separator", [",", " ", ", ", "\n"])
def test_each_of_several_keys_opens(separator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, separator.join((NEW_KEY, OLD_KEY)))
    for key in (OLD_KEY, NEW_KEY):
        assert resolve_secrets({"secreto": "x"}, {"x": encrypted("valor", key)}.get) == "valor"
    rotated = MultiFernet([Fernet(NEW_KEY), Fernet(OLD_KEY)]).rotate(encrypted("valor", OLD_KEY))
    assert resolve_secrets({"secreto": "x"}, lambda _name: rotated) == "valor"


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (
            "",
            encrypted(HIDDEN),
            "^el secreto 'x' está cifrado y no se puede abrir: falta la variable JANITOR_SECRET_KEYS; secret new-key ",
        ),
        (" , ", encrypted(HIDDEN), "falta la variable JANITOR_SECRET_KEYS"),
        (NEW_KEY, None, "no existe el secreto 'x' en secretos_nube"),
        (OTHER_KEY, encrypted(HIDDEN), "ninguna clave de JANITOR_SECRET_KEYS abre el secreto 'x'"),
        (NEW_KEY, encrypted(HIDDEN)[:-8], "ninguna clave de JANITOR_SECRET_KEYS abre el secreto 'x'"),
        (NEW_KEY, HIDDEN.encode(), "ninguna clave de JANITOR_SECRET_KEYS abre el secreto 'x'"),
        (NEW_KEY, b"", "ninguna clave de JANITOR_SECRET_KEYS abre el secreto 'x'"),
        (NEW_KEY, Fernet(NEW_KEY).encrypt(b"\xff\xfe"), "el secreto 'x' no es un texto en UTF-8"),
        (f"{NEW_KEY},{HIDDEN}", encrypted("y"), "JANITOR_SECRET_KEYS: la clave número 2 no es válida"),
        ("ñ", encrypted("y"), "JANITOR_SECRET_KEYS: la clave número 1 no es válida"),
        (NEW_KEY[:-4], encrypted("y"), "JANITOR_SECRET_KEYS: la clave número 1 no es válida"),
    ],
    ids=[
        "no key",
        "blank keys",
        "no row",
        "another key",
        "cut off",
        "not encrypted",
        "empty",
        "no text",
        "one key wrong",
        "key not ASCII",
        "key too short",
    ],
)
def test_a_secret_that_cannot_be_opened_is_reported_by_its_name(
    keys: str, value: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, keys)
    with pytest.raises(FieldError, match=reason) as caught:
        resolve_secrets({"password": {"secreto": "x"}}, lambda _name: value)
    assert not [part for part in (HIDDEN, NEW_KEY, OTHER_KEY) if part in str(caught.value)]


def test_what_is_opened_is_hidden_from_then_on_whatever_its_field_and_so_are_the_keys(redactor: Redactor) -> None:
    secrets = {"host": encrypted("nas-interno.example"), "user": encrypted("sage")}
    resolve_secrets({"host": {"secreto": "host"}, "username": {"secreto": "user"}}, secrets.get)
    shown = redactor.redact(f"nas-interno.example {NEW_KEY} {OLD_KEY} /srv/sage")
    assert shown == "*** *** *** /srv/sage"


def test_the_names_that_would_be_asked_for_are_those_that_are_reported() -> None:
    credentials = {"a": {"secreto": "uno"}, "b": {"c": {"secreto": "dos"}, "secreto": "x"}, "d": ["secreto"], "e": None}
    asked: list[str] = []

    def fetch(name: str) -> bytes:
        asked.append(name)
        return encrypted("valor")

    resolve_secrets(credentials, fetch)
    assert list(named_secrets(credentials)) == asked == ["uno", "dos"]
    assert list(named_secrets({"secreto": "todo"})) == ["todo"]
    assert list(named_secrets("/ruta.json")) == list(named_secrets(None)) == []


def test_literal_secrets_are_reported_by_their_fields() -> None:
    assert literal_secrets(dict.fromkeys((*SECRET_FIELDS, "host", "username"), HIDDEN)) == SECRET_FIELDS
    assert literal_secrets({"password": {"secreto": "x"}, "secret_key": "", "account_key": None, "host": "h"}) == ()
    assert literal_secrets({"secreto": "x"}) == literal_secrets("/ruta.json") == literal_secrets(None) == ()


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE)
    with pytest.raises(FieldError, match=f"falta la variable {KEYS_VARIABLE}"):
        resolve_secrets({"secreto": "x"}, lambda _name: encrypted("y"))


def test_secrets_come_from_their_table_and_a_missing_one_stops_its_provider_alone(database_url: str) -> None:
    platform = Platform(database_url)
    platform.sql("INSERT INTO secretos_nube VALUES ('clave', %s)", encrypted("valor").decode())
    for name in ("clave", "no-existe", "' OR true --"):
        platform.add_provider("s3", {"bucket": "b"}, {"secret_key": {"secreto": name}})
    good, *bad = platform.database().load_provider_rows()
    platform.close()
    assert isinstance(good, ProviderRow)
    assert good.credentials == {"secret_key": "valor"}
    assert [str(problem[1]) for problem in bad if isinstance(problem, tuple)] == [
        "no existe el secreto 'no-existe' en secretos_nube",
        'no existe el secreto "\' OR true --" en secretos_nube',
    ]
