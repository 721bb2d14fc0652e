"""The documents are correct: variables, routes, commands and links, and the first conversation, which is run."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from django.urls import get_resolver

from edgechat.environment import Environment
from edgechat.errors import ApiError, NotFound, error_body
from edgechat.settings import env as settings_environment
from edgechat.tests.calls import METHODS, routes

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()
DOCUMENTS = sorted([PROJECT / "README.md", PROJECT / "CHANGELOG.md", *(PROJECT / "docs").rglob("*.md")])
# Compose builds other variables from these; the application does not read them.
COMPOSE_ONLY = {"MONGO_PASSWORD", "REDIS_PASSWORD", "PUBLISH"}
NAME = r"[A-Z][A-Z0-9_]+"
COMPLETE = {
    "JWT_SECRET": "0123456789abcdef0123456789abcdef",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    "MONGODB_URL": "mongodb://127.0.0.1:9",
    "REDIS_URL": "redis://127.0.0.1:9/0",
}


def table_rows(header: str) -> list[list[str]]:
    """The cells of all README tables whose first heading is `header`."""
    rows: list[list[str]] = []
    for table in re.findall(rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE):
        rows += [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return rows


def readme_variables() -> dict[str, str]:
    """Each variable of README's tables, and its default: a value, `-` for none, or `required`."""
    rows = table_rows("variable")
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def example_variables() -> dict[str, str]:
    """Each variable of .env.example, commented out or not, and its value there."""
    text = (PROJECT / ".env.example").read_text()
    found = re.findall(rf"^#?({NAME})=(.*)$", text, re.MULTILINE)
    assert len(dict(found)) == len(found)
    return dict(found)


def names_in_code(path: str) -> set[str]:
    """The variables that a file reads from the process's environment, or from a mapping made of it."""
    strings = {
        node.value for node in ast.walk(ast.parse((PROJECT / path).read_text())) if isinstance(node, ast.Constant)
    }
    return {text for text in strings if isinstance(text, str) and re.fullmatch(rf"{NAME}", text)}


def names_read() -> set[str]:
    """Every variable that is read: by the settings, gunicorn's configuration, and the start of the embedded servers."""
    started = names_in_code("edgechat/local/configuration.py") | names_in_code("gunicorn.conf.py")
    return settings_environment.names_read | started


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in this project, with its own environment and no `.env`."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={"ENV_FILE": "no-such-file", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# --- Variables -------------------------------------------------------------------------------------------------------


def test_readme_has_every_variable_that_is_read_and_no_other() -> None:
    assert set(readme_variables()) == names_read() | COMPOSE_ONLY


def test_env_example_has_every_variable_that_is_read_and_no_other() -> None:
    files = {name for name in example_variables() if name.endswith("_FILE") and name != "ENV_FILE"}
    assert set(example_variables()) - files == names_read() | COMPOSE_ONLY


def test_the_defaults_in_readme_are_those_of_the_settings() -> None:
    """A computed default is `-` in the table, and described in words beside it."""
    program = """
import json
from edgechat.environment import Environment
defaults = {}
def remembering(read):
    def reading(self, name, default=None, **options):
        defaults[name] = "-" if default in (None, "") else str(default)
        return read(self, name, default, **options)
    return reading
for kind in ("str", "int", "float", "list", "path"):
    setattr(Environment, kind, remembering(getattr(Environment, kind)))
import edgechat.settings
print(json.dumps(defaults))
"""
    done = run_python(program, **COMPLETE)
    assert done.returncode == 0, done.stderr
    real: dict[str, str] = json.loads(done.stdout)
    real["AI_TIMEOUT_SECONDS"] = real["AI_TIMEOUT_SECONDS"].removesuffix(".0")
    # The settings read these in turn: the first one's value is the next one's default.
    real |= dict.fromkeys(COMPLETE, "required")
    real |= {"POSTGRES_USER": "postgres", "POSTGRES_PORT": "5432", "POSTGRES_DB": "edgechat"}
    written = readme_variables()
    assert {name: written[name] for name in real} == real


def test_the_required_variables_are_those_without_which_production_does_not_start() -> None:
    done = run_python("import edgechat.settings")
    assert done.returncode != 0
    named = set(re.findall(rf"^  ({NAME}): required in production", done.stderr, re.MULTILINE))
    assert named == {name for name, default in readme_variables().items() if default == "required"} == set(COMPLETE)


def test_the_postgres_defaults_in_readme_are_those_of_the_settings() -> None:
    complete = {**COMPLETE, "DATABASE_URL": "", "POSTGRES_HOST": "db.example.com"}
    done = run_python("import edgechat.settings; print(edgechat.settings.DATABASE_URL)", **complete)
    written = readme_variables()
    user, port, name = (written[f"POSTGRES_{part}"] for part in ("USER", "PORT", "DB"))
    assert done.stdout.strip() == f"postgresql://{user}@db.example.com:{port}/{name}"


def test_the_defaults_in_readme_are_those_of_gunicorn_and_of_make_run() -> None:
    written = readme_variables()
    configuration = "import runpy; read = runpy.run_path('gunicorn.conf.py'); print(read['bind'])"
    assert run_python(configuration).stdout.strip() == f"{written['HOST']}:{written['PORT']}"
    program = """
from edgechat.local.configuration import PROJECT, read_configuration
read = read_configuration()
print(read.port, read.data_dir.relative_to(PROJECT), int(read.graceful_seconds), int(not read.scripted), sep="\\n")
"""
    # Empty counts as unset, and also hides a value in this checkout's `.env`.
    given = dict.fromkeys(("PORT", "DATA_DIR", "GRACEFUL_TIMEOUT", "LOCAL_MODEL"), "")
    if not (PROJECT / ".env").exists():
        names = ("PORT", "DATA_DIR", "GRACEFUL_TIMEOUT", "LOCAL_MODEL")
        assert run_python(program, **given).stdout.split() == [written[name] for name in names]


def test_the_values_in_env_example_are_the_defaults() -> None:
    """An uncommented line changes nothing. A variable without a default shows the shape of a value, or nothing."""
    written, example = readme_variables(), example_variables()
    defaults = {name: default for name, default in written.items() if default not in ("-", "required")}
    assert {name: example[name] for name in defaults} == defaults
    free = {name: text for name, text in example.items() if name not in defaults and text}
    assert set(free) == {"DATABASE_URL", "MONGODB_URL", "REDIS_URL"}


def test_each_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name for name in example_variables() if name.endswith("_FILE") and name != "ENV_FILE"}
    assert files == {name for name in re.findall(rf"`({NAME}_FILE)`", README) if name != "ENV_FILE"}
    for file in files:
        name = file.removesuffix("_FILE")
        assert name in settings_environment.names_read
        (tmp_path / name).write_text(f"the value of {name}\n")
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(file, str(tmp_path / name))
        assert Environment().str(name) == f"the value of {name}"


# --- Routes and commands ---------------------------------------------------------------------------------------------


def test_readme_has_each_call_of_the_api_and_no_other() -> None:
    written = [(method, re.sub(r"\{[^}]*\}", "{}", path.strip("`"))) for method, path, _ in table_rows("method")]
    served = [
        (method.upper(), re.sub(r"{\w+}", "{}", f"/{path}"))
        for path, view in routes()
        for method in METHODS
        if not path.startswith("admin/") and hasattr(view, method)
    ]
    assert sorted(written) == sorted([*served, ("GET", "/admin/")])


def test_each_call_in_readme_says_its_status() -> None:
    assert [
        row for row in table_rows("method") if not re.search(r"\b20[0-4]\b", row[2]) and "/admin/" not in row[1]
    ] == []


def test_readme_has_each_error_code_with_its_status() -> None:
    written = {
        (status, code)
        for statuses, codes in table_rows("status")
        for status in statuses.split(", ")
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    assert list(get_resolver().url_patterns)  # imports every view, and thereby every error
    waiting: list[type[ApiError]] = [ApiError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.__module__.split(".")[0] in ("edgechat", "accounts", "ai", "conversations", "usage"):
            assert (str(error.status), error.code) in written, error


def test_readme_has_each_management_command_and_no_other() -> None:
    apps = {"edgechat", "accounts", "ai", "conversations", "usage"}
    ours = {name for name, app in get_commands().items() if app in apps}
    assert {row[0].strip("`") for row in table_rows("command")} == ours


def test_each_manage_py_command_and_make_target_that_readme_names_exists() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", README))
    assert named - set(get_commands()) == set()
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"`?(?:^|[`\s])make ([a-z]+)`", README, re.MULTILINE))
    assert {"run", "dev", "test", "check", "bench"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


# --- Links and examples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    anchors |= set(re.findall(r'<a id="([^"]+)">', text))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not re.match(r"[a-z]+://", target):
            assert (document.parent / path).exists(), target
            assert path or anchor in anchors, target


def test_the_code_that_documents_name_exists() -> None:
    """`usage.requests.services`, or `ai.calls.metered.MeteredCall`: a module, or a name in one."""
    named = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"`((?:edgechat|accounts|ai|conversations|usage)(?:\.\w+)+)`", document.read_text())
    }
    assert named
    for name in sorted(named):
        try:
            import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(import_module(module), attribute), name


def test_the_decisions_are_numbered_and_each_is_named_in_readme() -> None:
    files = sorted(path.name for path in (PROJECT / "docs" / "decisions").iterdir())
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    assert [name for name in files if f"(docs/decisions/{name})" not in README] == []
    for name in files:
        assert (PROJECT / "docs" / "decisions" / name).read_text().startswith(f"# {name[:4]} ")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """The keys of a JSON value, and the places of its objects."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="the example is one for bash and curl")
def test_the_first_conversation_of_readme_works_when_it_is_run(web_url: str, tmp_path: Path) -> None:
    [script] = fenced("bash")
    # Its own address, as for every client in these tests.
    first, second, third = random.SystemRandom().randbytes(3)
    address = f"172.{16 + first % 16}.{second}.{third}"
    (tmp_path / ".curlrc").write_text(f'header = "X-Forwarded-For: {address}"\n')
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "API": f"{web_url}/api/v1",
        "EMAIL": f"ann-{uuid.uuid4().hex[:12]}@example.com",
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert answer["user_message"]["content"] == "Hello! Who are you?"
    assert answer["model_message"]["status"] == "complete"
    assert answer["model_message"]["content"] != ""
    assert shape(answer) == shape(json.loads(fenced("json")[0]))
    assert "http://127.0.0.1:8000/api/v1" in script


def test_the_error_in_readme_has_the_shape_of_errors() -> None:
    written = json.loads(fenced("json")[1])
    assert written == error_body(NotFound(written["detail"]), written["request_id"])


def test_readme_names_the_test_command_and_ci_runs_it() -> None:
    assert "`make test` is the test command" in README
    steps = re.findall(r"^step (.+)$", (PROJECT / ".ci" / "run").read_text(), re.MULTILINE)
    assert steps == ["make check", "make test"]
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)
    assert "- run: .ci/run\n" in (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
