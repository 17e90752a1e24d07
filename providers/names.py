"""How names that a store cannot hold literally are written there."""

from __future__ import annotations

QUOTE = "\u201b"
"""rclone's quote character: introduces an encoded byte, or a character that would be read as encoded."""

BACKSLASH = {"\\": "\uff3c"}
DELETE_CHARACTER = {"\x7f": "\u2421"}
CONTROL_CHARACTERS = {chr(code): chr(0x2400 + code) for code in range(0x20)}
LINE_ENDS = {"\r": "\u240d", "\n": "\u240a"}
FINAL_PERIOD = "\uff0e"


class NameEncoding:
    """Encodes names that a store cannot hold literally, reversibly, as rclone does for that kind of store.

    So rclone can read a copy and compare it with its original. `replacements` are the characters that the store
    refuses; `final_period` says that it drops one at the end of a name. A byte that is not UTF-8 becomes the quote
    character and two hexadecimal digits. All other names stay as they are.
    Source: rclone's "Overview of cloud storage systems", sections "Restricted filenames" and "Invalid UTF-8 bytes".
    """

    def __init__(self, *replacements: dict[str, str], final_period: bool = False) -> None:
        self._encoded = {plain: text for mapping in replacements for plain, text in mapping.items()}
        self._plain = {text: plain for plain, text in self._encoded.items()}
        self._final_period = final_period
        self._encoded_ascii = frozenset(filter(str.isascii, self._encoded))

    def encode(self, key: str) -> str:
        """The name under which the store holds `key`: valid Unicode, reversible."""
        if key.isascii() and self._encoded_ascii.isdisjoint(key) and not self._final_period:
            return key
        return "/".join(self._encode_part(part) for part in key.split("/"))

    def decode(self, stored_name: str) -> str:
        """The key that `encode` turned into `stored_name`."""
        if stored_name.isascii():  # every replacement by `encode` is not
            return stored_name
        return "/".join(self._decode_part(part) for part in stored_name.split("/"))

    def _encode_part(self, part: str) -> str:
        text = "".join(self._encode_character(character) for character in part)
        if self._final_period and part.endswith("."):
            return text[:-1] + FINAL_PERIOD
        if self._final_period and part.endswith(FINAL_PERIOD):
            return text[:-1] + QUOTE + FINAL_PERIOD
        return text

    def _encode_character(self, character: str) -> str:
        if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8, as in PEP 383
            return f"{QUOTE}{ord(character) - 0xDC00:02X}"
        if character == QUOTE or character in self._plain:
            return QUOTE + character
        return self._encoded.get(character, character)

    def _decode_part(self, part: str) -> str:
        plain = bytearray()
        position = 0
        while position < len(part):
            text, position = self._decode_one(part, position)
            plain += text
        return plain.decode("utf-8", "surrogateescape")

    def _decode_one(self, part: str, position: int) -> tuple[bytes, int]:
        character = part[position]
        if character == QUOTE:
            digits = part[position + 1 : position + 3]
            if len(digits) == 2 and all(digit in "0123456789ABCDEF" for digit in digits):
                return bytes.fromhex(digits), position + 3
            return part[position + 1 : position + 2].encode(), position + 2
        if character == FINAL_PERIOD and self._final_period and position == len(part) - 1:
            return b".", position + 1
        return self._plain.get(character, character).encode(), position + 1
