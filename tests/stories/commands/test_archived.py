"""Copies that a lifecycle rule has archived: it is said what to do, a command asks for them, and then they come back.

Real GLACIER and Archive take hours; moto and Azurite answer as they do, and are done at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from azure.storage.blob import BlobServiceClient, StandardBlobTier

from providers import build_provider
from providers.errors import ObjectArchived, ProviderError
from providers.sources import BytesSource
from tests.destinations import Destination
from tests.stories.installation import Installation
from tests.stories.trees import make_usual_tree, snapshot

NewDestination = Callable[[str], Destination]


def archive_on_s3(destination: Destination) -> None:
    """As a lifecycle rule does, with every object of the bucket."""
    credentials: Any = destination.credentials
    sdk: Any = boto3
    client = sdk.client(
        "s3",
        endpoint_url=destination.options["endpoint_url"],
        aws_access_key_id=credentials["access_key"],
        aws_secret_access_key=credentials["secret_key"],
        region_name="us-east-1",
    )
    bucket = destination.options["bucket"]
    with closing(client):
        for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
            source = {"Bucket": bucket, "Key": item["Key"]}
            client.copy_object(Bucket=bucket, Key=item["Key"], CopySource=source, StorageClass="GLACIER")


def test_what_is_archived_is_asked_for_and_then_comes_back(
    installation: Installation, new_destination: NewDestination, tmp_path: Path
) -> None:
    destination = new_destination("s3-moto")
    installation.configure(installation.add_provider(destination))
    original = installation.new_directory("uno")
    make_usual_tree(original)
    installation.add_execution("uno", original)
    assert installation.run().exit_code == 0
    objects = len(destination.everything_stored())
    request = ("restore", "uno", str(tmp_path / "restored"), "--request-restore")

    none = installation.run(*request)
    assert (none.exit_code, none.output) == (
        0,
        f"Ejecución uno: ninguno de sus {objects} objetos está archivado; se puede restaurar\n",
    )
    archive_on_s3(destination)
    refused = installation.run("restore", "uno", str(tmp_path / "restored"))
    assert refused.exit_code == 1
    assert "restore --request-restore" in refused.messages("ERROR")[0]
    asked = installation.run(*request)
    assert asked.exit_code == 0, str(asked)
    assert asked.output.startswith(f"Ejecución uno: están archivados {objects} de {objects} objetos")
    assert not (tmp_path / "restored").exists()

    restored = installation.run("restore", "uno", str(tmp_path / "restored"))
    assert restored.exit_code == 0, str(restored)
    assert snapshot(tmp_path / "restored") == snapshot(original)


def test_a_blob_that_is_archived_is_asked_for(new_destination: NewDestination) -> None:
    destination = new_destination("azure")
    with closing(build_provider(destination.provider_row())) as provider:
        provider.put("key", BytesSource(b"content"))
        assert not provider.request_restore("key")
        credentials: Any = destination.credentials
        service = BlobServiceClient(destination.options["account_url"], credentials["account_key"])
        with closing(service), service.get_blob_client(destination.options["container"], "key") as blob:
            blob.set_standard_blob_tier(StandardBlobTier.ARCHIVE)
        with pytest.raises(ObjectArchived, match="restore --request-restore"):
            list(provider.open("key"))
        assert provider.request_restore("key")


@pytest.mark.parametrize("name", ["local", "s3-rclone"])
def test_a_provider_that_has_no_archive_is_asked_three_times_and_then_left_alone(
    installation: Installation, new_destination: NewDestination, name: str
) -> None:
    """What is told is what was asked for: nothing was to be restored."""
    destination = new_destination(name)
    installation.configure(installation.add_provider(destination, "El cubo"))
    for number in range(5):
        installation.small_execution(f"u-{number}")
    assert installation.run("--migrate-only").exit_code == 0
    run = installation.run("restore", "--provider", "El cubo", "--request-restore")
    assert run.exit_code == 1, str(run)
    told = run.messages("ERROR")
    refused = [message for message in told if "no se intenta" not in message]
    assert (len(refused), len(told)) == (3, 5), str(run)
    assert all("no se pudo sacar del archivo de El cubo: " in message for message in refused)
    assert all(message.endswith("restáurela sin --request-restore") for message in refused)


@pytest.mark.parametrize("name", ["local", "gcs"])
def test_where_nothing_is_archived_nothing_is_asked_for(new_destination: NewDestination, name: str) -> None:
    with (
        closing(build_provider(new_destination(name).provider_row())) as provider,
        pytest.raises(ProviderError, match="no se archiva nada"),
    ):
        provider.request_restore("key")
