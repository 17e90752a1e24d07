"""Checks the dashboard against Grafana's own schema, with TypeScript: `python -m tests.monitoring.dashboard_types`.

Not a test of the suite: it fetches two packages from npm, exactly as `types/package-lock.json` says.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.repository import REPOSITORY
from tests.servers.azurite import find_node, install

TYPES = Path(__file__).parent / "types"
DASHBOARD = REPOSITORY / "monitoring" / "dashboard.json"
SOURCE = """import type {{ DashboardInFile }} from "./dashboard_in_file";
export const dashboard = {} satisfies DashboardInFile;
"""
OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler")


def main() -> int:
    """Say what is wrong with the dashboard; the exit code is that of the compiler."""
    node, npm = find_node()
    with tempfile.TemporaryDirectory(prefix="janitor-types-") as name:
        project = Path(name, "project")
        shutil.copytree(TYPES, project)
        install(npm, project)
        literal = json.dumps(json.loads(DASHBOARD.read_text(encoding="utf-8")), ensure_ascii=False, indent=1)
        (project / "dashboard.ts").write_text(SOURCE.format(literal), encoding="utf-8")
        compiler = [node, "node_modules/typescript/bin/tsc", *OPTIONS, "dashboard.ts"]
        return subprocess.run(compiler, cwd=project, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
