"""The documents are correct: variables, routes, errors, commands and links, and the shell programs, which are run."""

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
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec.inspect
import pytest
from django.core.management import get_commands
from PIL import Image

from conftest import Person
from edgechat import __version__
from edgechat.environment import Environment
from edgechat.errors import ApiError, NotFound, error_body
from edgechat.local import metrics_page, settings_page
from edgechat.local.model_server.directives import PERCENT_ENCODED, Directives, parse_directives
from edgechat.local.settings_page import REQUIRED as COMPLETE
from edgechat.settings import env as settings_environment
from edgechat.tests.calls import METHODS, routes
from edgechat.tests.published import document

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()
SETTINGS = settings_page.PAGE.read_text()
API = (PROJECT / "docs" / "api.md").read_text()
ERRORS = (PROJECT / "docs" / "clients" / "errors.md").read_text()
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
SCRIPTED_MODEL = (PROJECT / "docs" / "clients" / "scripted-model.md").read_text()
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
# Compose builds other variables from these; the application does not read them.
COMPOSE_ONLY = {"MONGO_PASSWORD", "REDIS_PASSWORD", "PUBLISH", "PUBLIC_HOST"}
NAME = r"[A-Z][A-Z0-9_]+"


def table_rows(document: str, header: str) -> list[list[str]]:
    """The cells of all tables of a document whose first heading is `header`."""
    rows: list[list[str]] = []
    for table in re.findall(rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", document, re.MULTILINE):
        rows += [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return rows


def described_variables() -> dict[str, str]:
    """Each variable of the settings page, and its default: a value, `-` for none, or `required`."""
    rows = table_rows(SETTINGS, "variable")
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


def test_the_settings_page_has_every_variable_that_is_read_and_no_other() -> None:
    assert set(described_variables()) == names_read() | COMPOSE_ONLY


def test_each_variable_of_the_settings_page_is_described() -> None:
    assert [row for row in table_rows(SETTINGS, "variable") if len(row[-1]) < 9] == []


def test_the_settings_page_is_made_from_the_declarations() -> None:
    """`make docs` makes it again."""
    done = run_python("from edgechat.local.settings_page import settings_tables; print(settings_tables())", **COMPLETE)
    assert done.returncode == 0, done.stderr
    assert SETTINGS.partition(settings_page.BEGIN)[2].partition(settings_page.END)[0].strip() == done.stdout.strip()


def test_the_metrics_page_is_made_from_the_catalog() -> None:
    """`make docs` makes it again."""
    page = metrics_page.PAGE.read_text()
    tables = page.partition(metrics_page.BEGIN)[2].partition(metrics_page.END)[0]
    assert tables.strip() == metrics_page.metrics_tables().strip()


def test_env_example_has_every_variable_that_is_read_and_no_other() -> None:
    files = {name for name in example_variables() if name.endswith("_FILE") and name != "ENV_FILE"}
    assert set(example_variables()) - files == names_read() | COMPOSE_ONLY


def test_the_required_variables_are_those_without_which_production_does_not_start() -> None:
    done = run_python("import edgechat.settings")
    assert done.returncode != 0
    named = set(re.findall(rf"^  ({NAME}): required in production", done.stderr, re.MULTILINE))
    assert named == {name for name, default in described_variables().items() if default == "required"} == set(COMPLETE)


def test_the_defaults_on_the_settings_page_are_those_of_gunicorn_and_of_make_run() -> None:
    written = described_variables()
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
    written, example = described_variables(), example_variables()
    defaults = {name: default for name, default in written.items() if default not in ("-", "required")}
    assert {name: example[name] for name in defaults} == defaults
    free = {name: text for name, text in example.items() if name not in defaults and text}
    assert set(free) == {"DATABASE_URL", "MONGODB_URL", "REDIS_URL"}


def test_each_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name for name in example_variables() if name.endswith("_FILE") and name != "ENV_FILE"}
    assert files == {name for name in re.findall(rf"`({NAME}_FILE)`", SETTINGS) if name != "ENV_FILE"}
    for file in files:
        name = file.removesuffix("_FILE")
        assert name in settings_environment.names_read
        (tmp_path / name).write_text(f"the value of {name}\n")
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(file, str(tmp_path / name))
        assert Environment().str(name) == f"the value of {name}"


# --- Routes and commands ---------------------------------------------------------------------------------------------


def test_the_api_page_has_each_call_and_no_other() -> None:
    written = [(method, re.sub(r"\{[^}]*\}", "{}", path.strip("`"))) for method, path, _ in table_rows(API, "method")]
    served = [
        (method.upper(), re.sub(r"{\w+}", "{}", f"/{path}"))
        for path, view in routes()
        for method in METHODS
        if not path.startswith("admin/") and hasattr(view, method)
    ]
    assert sorted(written) == sorted([*served, ("GET", "/admin/")])


def test_each_call_on_the_api_page_says_its_status() -> None:
    assert [
        row for row in table_rows(API, "method") if not re.search(r"\b20[0-4]\b", row[2]) and "/admin/" not in row[1]
    ] == []


def published_codes() -> set[tuple[str, str]]:
    """The (status, code) of every error of every call in the OpenAPI file."""
    operations = [operation for path in document()["paths"].values() for operation in path.values()]
    return {
        (status, code)
        for operation in operations
        for status, response in operation["responses"].items()
        for code in response.get("x-codes", {})
    }


def test_the_errors_page_has_each_published_code_with_its_status_and_a_remedy() -> None:
    rows = table_rows(ERRORS, "status")
    written = [(status, code.strip("`")) for status, code, *_ in rows]
    waiting: list[type[ApiError]] = [ApiError]
    raised = set()
    published = published_codes()  # imports every view, and thereby every error
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.__module__.split(".")[0] in ("edgechat", "accounts", "ai", "conversations", "usage"):
            raised.add((str(error.status), error.code))
    assert len(published) > 30
    assert sorted(written) == sorted(published | raised)
    assert [row for row in rows if len(row) != 4 or not all(cell.endswith(".") for cell in row[2:])] == []


def test_the_operations_page_has_each_management_command_and_no_other() -> None:
    apps = {"edgechat", "accounts", "ai", "conversations", "usage"}
    ours = {name for name, app in get_commands().items() if app in apps}
    assert {row[0].strip("`") for row in table_rows(OPERATIONS, "command")} == ours


def test_each_manage_py_command_and_make_target_that_a_document_names_exists() -> None:
    text = "\n".join(each.read_text() for each in DOCUMENTS if each.name != "CHANGELOG.md")
    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) - set(get_commands()) == set()
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"`?(?:^|[`\s])make ([a-z-]+)`", text, re.MULTILINE))
    assert {"run", "dev", "demo", "test", "check", "docs", "bench", "pooler-test"} <= targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_make_help_has_each_target_that_is_not_only_a_step_of_others() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    [declared] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    helped = re.findall(r"^\t@echo 'make ([a-z-]+) ", makefile, re.MULTILINE)
    steps = {
        "check-types",
        "check-others",
        "help",
        "model",
        "browser",
        "node",
        "pooler",
        "older",
        "prometheus",
        "caddy",
        "kotlin",
    }
    assert sorted(helped) == sorted(set(declared.split()) - steps)


def test_each_command_of_the_workflow_exists() -> None:
    workflow = (PROJECT / ".github/workflows/ci.yml").read_text()
    makefile = (PROJECT / "Makefile").read_text()
    targets = re.findall(r"\bmake ([a-z-]+)", workflow)
    assert {"pooler-test", "older-test", "machines-test", "deploy-test", "browser-test", "other-browsers-test"} <= set(
        targets
    )
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


# --- The scripted model ----------------------------------------------------------------------------------------------


def allowed(kind: Any) -> str:
    """The values of a directive as the page writes them; an empty text for free text."""
    match kind:
        case msgspec.inspect.UnionType(types):
            return allowed(types[0])
        case msgspec.inspect.BoolType():
            return "`1`"
        case msgspec.inspect.LiteralType(values):
            return ", ".join(f"`{value}`" for value in values if value)
        case msgspec.inspect.IntType(ge=least, le=most) | msgspec.inspect.FloatType(ge=least, le=most):
            return f"{least} to {most:,}" if most is not None and most >= 10_000 else f"{least} to {most}"
    return ""


def test_the_scripted_models_page_has_each_directive_with_its_values_and_no_other() -> None:
    written = {row[0].strip("`"): row[1] for row in table_rows(SCRIPTED_MODEL, "directive")}
    kinds = {field.name: field.type for field in msgspec.inspect.type_info(Directives).fields}  # type: ignore[attr-defined]
    assert set(written) == set(kinds)
    assert {name: written[name] for name, kind in kinds.items() if allowed(kind)} == {
        name: allowed(kind) for name, kind in kinds.items() if allowed(kind)
    }
    assert {name for name, values in written.items() if values.endswith(" %")} == PERCENT_ENCODED


def test_the_recipes_for_the_scripted_model_are_valid() -> None:
    cells = [cell for row in table_rows(SCRIPTED_MODEL, "to see") for cell in row]
    recipes = [sent for cell in cells for sent in re.findall(r"`(\[\[[^`]*)`", cell)]
    assert len(recipes) > 10
    for sent in recipes:
        parse_directives(sent)


def test_each_state_of_a_message_is_seen_as_the_scripted_models_page_says(alice: Person) -> None:
    rows = table_rows(SCRIPTED_MODEL, "send")
    assert {row[2].split("`")[1] for row in rows} == {"complete", "blocked", "failed"}
    for sent, answered, became in rows:
        answer = alice.say(alice.new_conversation(title="Titled"), sent.strip("`"))
        body = answer.json()
        message = body.get("context", body)["model_message"]
        seen = f"{answer.status_code} `{body['code']}`" if "code" in body else f"{answer.status_code}"
        if answer.status_code == 429:
            seen += f", with `Retry-After: {answer.headers['Retry-After']}`"
        state = f"`{message['status']}`, with{'' if message['content'] else 'out'} a text"
        if message["status"] == "complete":
            state = f"`complete`, with `{message['finish_reason']}`"
        assert (sent, seen, state) == (sent, answered, became)
    blocked = alice.post("ai/complete", json={"prompt": "[[block=answer]]Hello"})
    empty = alice.post("ai/summarize", json={"text": "[[empty=1]]Hello"})
    assert (blocked.status_code, blocked.json()["code"]) == (422, "content_blocked")
    assert (empty.status_code, empty.json()["code"]) == (503, "model_output_invalid")
    assert "| 422 `content_blocked` | `[[block=answer]]Hello` as the prompt of" in SCRIPTED_MODEL
    assert "| 503 `model_output_invalid` | `[[empty=1]]Hello` as the text of" in SCRIPTED_MODEL


# --- Links and examples ----------------------------------------------------------------------------------------------


def anchors_of(document: Path) -> set[str]:
    text = document.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, anchor = target.partition("#")
        if not re.match(r"[a-z]+://", target):
            assert (document.parent / path).exists(), target
            assert not anchor or anchor in anchors_of(document.parent / path if path else document), target


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


def test_the_decisions_are_numbered_and_each_is_listed() -> None:
    files = sorted(path.name for path in (PROJECT / "docs" / "decisions").iterdir())
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    listed = (PROJECT / "docs" / "decisions.md").read_text()
    for name in files:
        title = (PROJECT / "docs" / "decisions" / name).read_text().partition("\n")[0]
        assert title.startswith(f"# {name[:4]} ")
        assert f"- [{title[2:]}](decisions/{name})\n" in listed


def fenced(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """The keys of a JSON value, and the places of its objects."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


@pytest.fixture
def run_script(web_url: str, tmp_path: Path) -> Callable[..., str]:
    """Run a shell program of a document with bash and curl against the shared web processes; what it printed."""
    email = f"ann-{uuid.uuid4().hex[:12]}@example.com"

    def run(script: str, **variables: str) -> str:
        # Its own address, as for every client in these tests.
        first, second, third = random.SystemRandom().randbytes(3)
        address = f"172.{16 + first % 16}.{second}.{third}"
        (tmp_path / ".curlrc").write_text(f'header = "X-Forwarded-For: {address}"\n')
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": str(tmp_path), "API": f"{web_url}/api/v1", "EMAIL": email, **variables}
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


NEEDS_CURL = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="for bash and curl")


@NEEDS_CURL
def test_the_first_conversation_of_readme_works_the_first_time_and_again(run_script: Callable[..., str]) -> None:
    [script] = fenced(README, "bash")
    for _ in range(2):
        answer = json.loads(run_script(script))
        assert answer["user_message"]["content"] == "Hello! Who are you?"
        assert answer["model_message"]["status"] == "complete"
        assert answer["model_message"]["content"] != ""
        assert shape(answer) == shape(json.loads(fenced(README, "json")[0]))
    assert "http://127.0.0.1:8000/api/v1" in script


@NEEDS_CURL
def test_the_guides_conversation_with_curl_works(run_script: Callable[..., str], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "red").save(picture)
    said = run_script((PROJECT / "docs" / "clients" / "curl.sh").read_text(), FILE=str(picture))
    assert "Echo: Hello! Who are you?" in said
    names = re.findall(r"^event: (\w+)$", said, re.MULTILINE)
    assert [names[0], names[-1], names.count("message"), names.count("done")] == ["message", "done", 1, 2]
    assert "Echo: What is this? [image 40x30 image/png" in said


def test_the_error_on_the_errors_page_has_the_shape_of_errors() -> None:
    written = json.loads(fenced(ERRORS, "json")[0])
    assert written == error_body(NotFound(written["detail"]), written["request_id"])


def test_the_client_guide_shows_files_that_are_run_and_no_copies() -> None:
    guide = (PROJECT / "docs" / "clients" / "index.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", guide, re.DOTALL)
    assert {language for language, _ in blocks} == {"typescript", "python", "kotlin", "swift", "bash"}
    assert [code for _, code in blocks if not re.fullmatch(r'\s*--8<-- "clients/[\w.]+:\w+"\s*', code)] == []


# --- The project -----------------------------------------------------------------------------------------------------


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_another_host(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    loads = r"""<(?:script|link|img|iframe|source|object|embed)\b[^>]*?(?:src|href|data)=["']?([^"' >]+)"""
    elsewhere = [(page, each) for page in pages for each in re.findall(loads, page.read_text()) if "//" in each]
    styles = [each for file in tmp_path.rglob("*.css") for each in re.findall(r"url\(([^)]+)\)", file.read_text())]
    assert elsewhere == []
    assert [each for each in styles if "//" in each and not each.strip("\"'").startswith("data:")] == []
    # Material would load mermaid from another host for these.
    assert [each for each in DOCUMENTS if "```mermaid" in each.read_text()] == []


def test_the_version_is_the_changelogs_latest_and_the_openapi_files() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", headings[1])
    assert document()["info"]["version"] == __version__
    assert f"Now: {__version__.rpartition('.')[0]}." in (PROJECT / "SECURITY.md").read_text()


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_readme_names_the_test_command_and_ci_runs_it() -> None:
    assert "`make test` is the test command" in README
    steps = re.findall(r"^step (.+)$", (PROJECT / ".ci" / "run").read_text(), re.MULTILINE)
    assert steps == ["make check", "make test"]
    assert os.access(PROJECT / ".ci" / "run", os.X_OK)
    assert "- run: .ci/run\n" in (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
