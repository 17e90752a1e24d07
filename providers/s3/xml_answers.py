"""Reads the XML of S3's answers, listings above all."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from providers.shared.answers import unintelligible


@dataclass(frozen=True, slots=True)
class Listing:
    """A kind of S3 listing: the possible names of its root, the name of an item, and the fields for the next page."""

    roots: frozenset[str]
    item: str
    markers: Mapping[str, str]
    encoded_markers: frozenset[str] = frozenset()
    has_keys: bool = True
    """Whether items have a name, which may be encoded."""

    def page(self, content: bytes) -> tuple[list[dict[str, str]], dict[str, str]]:
        """A page's items, and the parameters that ask for the next one, none after the last.

        Raises `ProviderUnavailable` for an answer that is not a listing, such as a login page, or the parser's errors.
        """
        fields, items = self._fields_and_items(content)
        is_encoded = fields.get("EncodingType") == "url"  # not every server encodes when asked to
        decode = urllib.parse.unquote_plus if is_encoded else str
        for item in items:
            if self.has_keys:
                item["Key"] = decode(item["Key"])
        if fields.get("IsTruncated", "false").lower() != "true":
            return items, {}
        return items, {
            parameter: decode(fields[field]) if field in self.encoded_markers else fields[field]
            for field, parameter in self.markers.items()
        }

    def _fields_and_items(self, content: bytes) -> tuple[dict[str, str], list[dict[str, str]]]:
        fields: dict[str, str] = {}
        items = []
        for node in self._parsed(content):
            if plain_tag(node.tag) == self.item:
                items.append({plain_tag(child.tag): child.text or "" for child in node})
            else:
                fields[plain_tag(node.tag)] = node.text or ""
        return fields, items

    def _parsed(self, content: bytes) -> ElementTree.Element:
        root = parsed_xml(content)
        if plain_tag(root.tag) not in self.roots:
            raise unintelligible("no es un listado")
        return root


OBJECTS = Listing(frozenset({"ListBucketResult"}), "Contents", {"NextContinuationToken": "continuation-token"})

UPLOADS = Listing(
    frozenset({"ListMultipartUploadsResult"}),
    "Upload",
    {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"},
    frozenset({"NextKeyMarker"}),
)

PARTS = Listing(
    frozenset({"ListPartsResult", "ListPartsResponse"}),  # the second one is moto's
    "Part",
    {"NextPartNumberMarker": "part-number-marker"},
    has_keys=False,
)


def parsed_xml(content: bytes) -> ElementTree.Element:
    """The root of an answer; a slow server may send spaces before it."""
    try:
        return ElementTree.fromstring(content.strip())  # noqa: S314 expat refuses to blow up entities since 2.4
    except ElementTree.ParseError as error:
        raise unintelligible("no es XML") from error


def plain_tag(tag: str) -> str:
    """Without the namespace, which some servers leave out."""
    return tag.rpartition("}")[2]
