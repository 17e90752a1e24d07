"""Many small files to S3: one tick of the daemon (migrate, verify, commit, delete) against `rclone move`.

    python -m benchmarks.small_files --executions 200 --files 100 --rounds 5

Both move identical trees to the same server (`rclone serve s3`), in turn. What arrived is compared with the original.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg2

from benchmarks.measure import Cost, compare, run_measured
from jobs.embedded_postgres import EmbeddedPostgres
from jobs.embedded_s3 import EmbeddedS3, rclone_program

PROGRAM = Path(__file__).resolve().parent.parent / "janitor_daemon.py"
SMALLEST_FILE_BYTES = 1024
LARGEST_FILE_BYTES = 64 * 1024


def main() -> None:
    """Read the command line and run the comparison."""
    parser = argparse.ArgumentParser(description="Many small files to S3: janitor-daemon against rclone move")
    parser.add_argument("--executions", type=int, default=200, help="how many executions (200)")
    parser.add_argument("--files", type=int, default=100, help="how many files in each (100)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs (5)")
    arguments = parser.parse_args()
    run(arguments.executions, arguments.files, arguments.rounds)


def run(executions: int, files: int, rounds: int) -> None:
    """Run the comparison and print its table. Raises `RuntimeError` when something did not arrive as it was."""
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        Path(name).chmod(0o755)
        comparison = Comparison(Path(name), executions, files)
        with EmbeddedPostgres(Path(name, "postgres")) as postgres, EmbeddedS3(Path(name, "buckets")) as server:
            product, peer = [], []
            for number in range(rounds):
                product.append(comparison.run_product(postgres, server, number))
                peer.append(comparison.run_rclone(server, number))
    version = subprocess.run([str(rclone_program()), "version"], capture_output=True, text=True, check=True)
    print(f"{executions} executions of {files} files, {rounds} rounds, Python {platform.python_version()},")
    print(f"{os.cpu_count()} processors, {version.stdout.splitlines()[0]}")
    print(compare(product, peer, "rclone move"))


class Comparison:
    """One set of files, moved again and again."""

    def __init__(self, directory: Path, executions: int, files: int) -> None:
        self._directory = directory
        self._executions = executions
        self._original = directory / "original"
        generator = random.Random(1)
        for execution in range(executions):
            target = self._original / f"execution-{execution:05}"
            target.mkdir(parents=True)
            for file in range(files):
                size = generator.randrange(SMALLEST_FILE_BYTES, LARGEST_FILE_BYTES)
                (target / f"{file:05}.csv").write_bytes(generator.randbytes(size))

    def run_product(self, postgres: EmbeddedPostgres, server: EmbeddedS3, number: int) -> Cost:
        """One tick of the daemon."""
        files = self._copy("product")
        bucket = f"product-{number}"
        server.new_bucket(bucket)
        environment = {
            **os.environ,
            "DATABASE_URL": postgres.new_database(f"round_{number}"),
            "JANITOR_ROOTS": str(files),
            "JANITOR_LOG_DIR": str(self._directory / "logs"),
            "TEMP_DIR": str(self._directory),
        }
        subprocess.run([sys.executable, str(PROGRAM), "init-db"], env=environment, check=True, capture_output=True)
        self._insert_rows(environment["DATABASE_URL"], server, bucket, files)
        cost = run_measured([sys.executable, str(PROGRAM)], environment)
        self._require_moved(files, server.directory / bucket / "ejecuciones")
        return cost

    def run_rclone(self, server: EmbeddedS3, number: int) -> Cost:
        """The same files with `rclone move`."""
        files = self._copy("rclone")
        bucket = f"rclone-{number}"
        server.new_bucket(bucket)
        environment = {**os.environ, **_rclone_remote(server)}
        command = [str(rclone_program()), "move", "--transfers", "16", "--checksum", str(files), f"bench:{bucket}"]
        cost = run_measured(command, environment)
        self._require_moved(files, server.directory / bucket)
        return cost

    def _copy(self, name: str) -> Path:
        target = self._directory / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self._original, target)
        return target

    def _insert_rows(self, database_url: str, server: EmbeddedS3, bucket: str, files: Path) -> None:
        with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO cloud_providers (nombre, tipo, credenciales, configuracion) VALUES ('bench', 'minio', "
                "jsonb_build_object('access_key', %s, 'secret_key', %s), "
                "jsonb_build_object('bucket', %s, 'endpoint_url', %s))",
                (server.access_key, server.secret_key, bucket, server.endpoint_url),
            )
            cursor.execute(
                "INSERT INTO ejecuciones_config (nube_primaria_id, eliminar_despues_de_migrar) VALUES (1, true)"
            )
            cursor.execute(
                "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) "
                "SELECT 'execution-' || lpad(n::text, 5, '0'), %s || '/execution-' || lpad(n::text, 5, '0'), now() "
                "FROM generate_series(0, %s) AS n",
                (str(files), self._executions - 1),
            )
        connection.close()

    def _require_moved(self, files: Path, arrived: Path) -> None:
        """Raises `RuntimeError` unless everything arrived, identical, and nothing stayed."""
        left = [path for path in files.rglob("*") if path.is_file()]
        wanted = {path.relative_to(self._original): path for path in self._original.rglob("*.csv")}
        there = {path.relative_to(arrived): path for path in arrived.rglob("*.csv")}
        different = [
            name for name in wanted if name not in there or wanted[name].read_bytes() != there[name].read_bytes()
        ]
        if left or different:
            raise RuntimeError(f"{len(left)} files stayed, {len(different)} did not arrive as they were")


def _rclone_remote(server: EmbeddedS3) -> Mapping[str, str]:
    return {
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
        "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint_url,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": server.access_key,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": server.secret_key,
    }


if __name__ == "__main__":
    main()
