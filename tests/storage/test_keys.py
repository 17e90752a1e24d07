"""Where an execution's objects lie, and that what is done about one execution touches no other."""

from __future__ import annotations

import re

import boto3
import pytest

from config.errors import UnsafeSource
from providers import build_provider
from storage.keys import Place, place_from_uri, place_of
from tests.destinations import s3_destination
from tests.servers.swift import SwiftS3


@pytest.mark.parametrize(
    ("prefix", "key_prefix"),
    [("", "ejecuciones/1234-abcd"), ("sage/prod", "sage/prod/ejecuciones/1234-abcd")],
)
def test_a_place_and_its_uri(prefix: str, key_prefix: str) -> None:
    place = place_of(prefix, "1234-abcd")
    assert place.key_of("out/a.csv") == f"{key_prefix}/out/a.csv"
    assert place.manifest_key == f"{key_prefix}.manifest.json"
    assert place.uri("s3") == f"cloud://s3/{key_prefix}"
    assert place_from_uri(place.uri("s3")) == place


def test_probes_of_two_executions_never_meet_and_are_not_among_files() -> None:
    places = [place_of(prefix, uuid) for prefix in ("", "sage") for uuid in ("a", "b", "ñ")]
    prefixes = {place.probe_prefix for place in places}
    assert len(prefixes) == len(places)
    assert all(one.rpartition("/")[0] == place.parent for place in places for one in [place.probe_prefix])
    assert not any(one.startswith(place.files_prefix) for place in places for one in prefixes)


@pytest.mark.parametrize("uuid", ["", ".", "..", "a/b", "a\\b", "a\nb", " a", "a ", "a.manifest.json", "a\u202eb"])
def test_a_uuid_that_is_no_part_of_a_key_is_refused(uuid: str) -> None:
    with pytest.raises(UnsafeSource):
        place_of("", uuid)


@pytest.mark.parametrize(
    "uri", ["nonsense", "s3://x/ejecuciones/1", "cloud://s3", "cloud://s3/../x", "cloud://s3/a//b"]
)
def test_what_is_no_uri_of_ours_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match=re.escape(uri)):
        place_from_uri(uri)


def test_discarding_what_one_execution_left_unfinished_leaves_another_of_a_longer_uuid_alone(swift_s3: SwiftS3) -> None:
    destination = s3_destination("s3-swift", swift_s3)
    provider = build_provider(destination.provider_row())
    client = boto3.client(
        "s3",
        endpoint_url=swift_s3.endpoint_url,
        aws_access_key_id=swift_s3.access_key,
        aws_secret_access_key=swift_s3.secret_key,
        region_name="us-east-1",
    )
    bucket = destination.options["bucket"]
    for key in (
        "ejecuciones/e1/a",
        "ejecuciones/e1.manifest.json",
        "ejecuciones/e10/a",
        "ejecuciones/e10.manifest.json",
    ):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    for prefix in Place("ejecuciones/e1").unfinished_prefixes:
        provider.discard_unfinished(prefix)
    uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert [upload["Key"] for upload in uploads] == ["ejecuciones/e10.manifest.json", "ejecuciones/e10/a"]
    client.close()
    provider.close()
