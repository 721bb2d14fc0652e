"""The image and the compose file, without a container engine: their schema, and the image's own commands, run here."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgechat.local.ports import HOST, free_port
from edgechat.local.process import ChildProcess, wait_until
from edgechat.tests.own_stores import new_stores

PROJECT = Path(__file__).parents[2]
BIN = str(Path(sys.executable).parent)
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS = {"JWT_SECRET", "POSTGRES_PASSWORD", "MONGO_PASSWORD", "REDIS_PASSWORD"}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::([?-])([^}]*))?\}")


def instructions(stage: int = -1) -> list[tuple[str, str]]:
    """The instructions of one of the Dockerfile's stages: (name, arguments on one line)."""
    lines = [line for line in (PROJECT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    split = [line.split(maxsplit=1) for line in whole.splitlines() if line.strip()]
    stages: list[list[tuple[str, str]]] = []
    for name, arguments in split:
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, arguments))
    return stages[stage]


def instruction(name: str) -> str:
    """The arguments of the last instruction of this name in the image's stage."""
    return [arguments for found, arguments in instructions() if found == name][-1]


def image_environment() -> dict[str, str]:
    """The variables that ENV sets, with this project's own packages instead of the image's."""
    pairs = [pair.partition("=") for name, text in instructions() if name == "ENV" for pair in shlex.split(text)]
    values = {name: value for name, _, value in pairs}
    values["PATH"] = values["PATH"].replace("/opt/venv/bin", BIN).replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
    return values


def context_files() -> list[str]:
    """The build context's files by `.dockerignore`: the last pattern that matches a path or a parent of it decides."""
    patterns: list[tuple[bool, re.Pattern[str]]] = []
    for line in (PROJECT / ".dockerignore").read_text().split("\n"):
        if line and not line.startswith("#"):
            text = re.escape(line.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            patterns.append((not line.startswith("!"), re.compile(text)))

    def ignored(path: Path) -> bool:
        names = [path.as_posix(), *(parent.as_posix() for parent in path.parents if parent.name)]
        verdicts = [ignore for ignore, pattern in patterns if any(pattern.fullmatch(name) for name in names)]
        return bool(verdicts) and verdicts[-1]

    tops = [path for path in PROJECT.iterdir() if not ignored(path.relative_to(PROJECT))]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*")) if file.is_file()]
    relative = (file.relative_to(PROJECT) for file in files)
    return sorted(path.as_posix() for path in relative if not ignored(path))


def compose_environment(service: str, dot_env: dict[str, str]) -> dict[str, str]:
    """A service's environment as compose builds it from `.env`."""

    def value(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if not dot_env.get(name) and kind == "?":
            raise KeyError(f"{name}: {text}")
        return dot_env.get(name) or (text if kind == "-" else "")

    environment: dict[str, Any] = SERVICES[service]["environment"]
    return {name: VARIABLE.sub(value, str(text)) for name, text in environment.items()}


def dot_env(**values: str) -> dict[str, str]:
    """`.env` as an operator makes it from `.env.example`: with the secrets and some other variables set."""
    lines = (PROJECT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(example) == SECRETS
    return {**dict.fromkeys(SECRETS, "0123456789abcdef0123456789abcdef"), **values}


# --- The files by themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "docker-compose.yml"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/ci.yml"),
    ],
)
def test_a_file_follows_its_schema(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_refuses_to_start_without_a_secret_and_asks_for_nothing_else() -> None:
    text = (PROJECT / "docker-compose.yml").read_text()
    assert {match[1] for match in VARIABLE.finditer(text) if match[2] == "?"} == SECRETS
    assert all("openssl rand" in match[3] for match in VARIABLE.finditer(text) if match[2] == "?")
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            compose_environment("app", dot_env(**{name: ""}))


def test_only_the_app_and_its_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["app", "caddy"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_the_app_waits_for_the_migrations_and_for_healthy_stores() -> None:
    assert SERVICES["app"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "postgres": {"condition": "service_healthy"},
        "mongo": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }
    assert all("test" in SERVICES[store]["healthcheck"] for store in ("postgres", "mongo", "redis"))


def test_all_data_is_kept_in_named_volumes() -> None:
    kept = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    stores = {"pictures", "postgres", "mongo", "mongo-config", "redis"}
    assert (
        kept - {"./deploy/caddy/Caddyfile"} == set(COMPOSE["volumes"]) == stores | {"caddy", "caddy-config", "backups"}
    )


def test_redis_forgets_nothing_at_a_restart_and_evicts_nothing() -> None:
    command: list[str] = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_a_container_may_stop_for_longer_than_gunicorn_takes() -> None:
    command = [sys.executable, "-c", "import runpy; print(runpy.run_path('gunicorn.conf.py')['graceful_timeout'])"]
    environment = {"GRACEFUL_TIMEOUT": SERVICES["app"]["environment"]["GRACEFUL_TIMEOUT"]}
    seconds = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(SERVICES["app"]["stop_grace_period"].rstrip("s")) > int(seconds)
    assert instruction("STOPSIGNAL") == "SIGTERM"


def test_each_setting_reaches_the_app_through_compose() -> None:
    from edgechat.settings import env

    elsewhere = {
        "ENV_FILE",  # the image has no .env
        "DATA_DIR",  # development only
        "FIRST_SUPERUSER_EMAIL",  # the migrate service's
        "FIRST_SUPERUSER_PASSWORD",
        "DATABASE_URL",  # built from POSTGRES_*
        "POSTGRES_PORT",
        "SECRET_KEY",  # names of the older backends
        "ALGORITHM",
        "ACCESS_TOKEN_EXPIRE_MINUTES",
        "BACKEND_CORS_ORIGINS",
    }
    given = set(SERVICES["app"]["environment"])
    assert env.names_read - elsewhere == given - {"WEB_CONCURRENCY"}
    assert set(SERVICES["migrate"]["environment"]) == given | {"FIRST_SUPERUSER_EMAIL", "FIRST_SUPERUSER_PASSWORD"}


def test_the_image_runs_as_nobody_of_importance_and_gets_its_signals() -> None:
    assert instruction("USER") == "10001:10001"
    assert json.loads(instruction("CMD")) == ["gunicorn", "-c", "gunicorn.conf.py", "edgechat.wsgi:application"]
    assert "ENTRYPOINT" not in dict(instructions())


def test_the_image_has_no_secrets_tests_or_embedded_servers_in_it() -> None:
    files = context_files()
    assert {file.split("/")[0] for file in files} == {
        "requirements.txt",
        "manage.py",
        "gunicorn.conf.py",
        *("edgechat", "accounts", "ai", "conversations", "usage"),
    }
    assert not [file for file in files if re.search(r"(^|/)(tests|local|__pycache__)/|\.env", file)]


# --- The packages ----------------------------------------------------------------------------------------------------


def pinned() -> dict[str, Requirement]:
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(requirement.specifier)) for requirement in found)
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def test_requirements_pin_all_that_they_bring_along_and_nothing_more() -> None:
    """Walks the installed packages. `# What those bring along` separates direct requirements from indirect ones."""
    listed = pinned()
    here = {name for name, requirement in listed.items() if not requirement.marker or requirement.marker.evaluate()}
    first = (PROJECT / "requirements.txt").read_text().partition("# What those bring along")[0]
    waiting = [Requirement(line) for line in first.splitlines() if line and not line.startswith("#")]
    needed: set[str] = set()
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        needed.add(canonicalize_name(requirement.name))
        if str(requirement) not in seen:
            seen.add(str(requirement))
            for text in metadata.requires(requirement.name) or []:
                further = Requirement(text)
                extras = ["", *requirement.extras]
                if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                    waiting.append(further)
    assert needed == here
    assert {name: str(listed[name].specifier) for name in here} == {
        name: f"=={metadata.version(name)}" for name in here
    }


def test_production_code_imports_only_packages_that_requirements_name() -> None:
    owners = metadata.packages_distributions()
    imported: set[str] = set()
    for file in context_files():
        if file.endswith(".py"):
            for node in ast.walk(ast.parse((PROJECT / file).read_text())):
                if isinstance(node, ast.Import):
                    imported.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imported.add(node.module.split(".")[0])
    ours = {"edgechat", "accounts", "ai", "conversations", "usage"}
    foreign = imported - ours - sys.stdlib_module_names
    named = set(pinned())
    missing = {module for module in foreign if not named & {canonicalize_name(owner) for owner in owners[module]}}
    assert missing == set()


# --- The image's own commands ----------------------------------------------------------------------------------------


@dataclass
class Image:
    """The files of the image in a folder, and the environments of its two services with the test's own stores."""

    folder: Path
    app: dict[str, str]
    migrate: dict[str, str]

    def run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with this environment only."""
        return subprocess.run(
            [found(command[0], environment), *command[1:]],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def files(self) -> set[str]:
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")}


def found(program: str, environment: dict[str, str]) -> str:
    path = shutil.which(program, path=environment["PATH"])
    assert path is not None
    return path


@pytest.fixture
def image(data_dir: Path) -> Image:
    """The files that COPY puts into the image, and compose's environments, with stores that do not exist."""
    folder = data_dir / "image"
    for file in context_files():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / file, folder / file)
    filled = dot_env(
        ALLOWED_HOSTS="chat.example.com",
        WEB_CONCURRENCY="1",
        FIRST_SUPERUSER_EMAIL="staff@example.com",
        FIRST_SUPERUSER_PASSWORD="a password of the staff",
    )
    base = {**image_environment(), "PORT": str(free_port()), "HOST": HOST}
    app, migrate = ({**base, **compose_environment(service, filled)} for service in ("app", "migrate"))
    return Image(folder, app=app, migrate=migrate)


@pytest.fixture
def built_image(image: Image, shared_servers: None) -> Iterator[Image]:
    """The image after its RUN instructions, with the run's servers and new, empty databases."""
    [collect] = [text for name, text in instructions() if name == "RUN" and "collectstatic" in text]
    done = image.run(["sh", "-c", collect], image_environment())
    assert done.returncode == 0, done.stderr
    with new_stores(migrated=False) as own:
        url = urlsplit(own.database_url)
        stores = {
            **{name: value for name, value in own.env.items() if name != "DATABASE_URL"},
            "POSTGRES_HOST": url.hostname or "",
            "POSTGRES_PORT": str(url.port),
            "POSTGRES_USER": unquote(url.username or ""),
            "POSTGRES_PASSWORD": unquote(url.password or ""),
            "POSTGRES_DB": own.name,
            "MONGODB_URL": os.environ["MONGODB_URL"],
        }
        image.app |= stores
        image.migrate |= stores
        yield image


def assets_of(page: str) -> list[str]:
    """The addresses of a page's style sheets, scripts and icons."""
    return sorted(set(re.findall(r"<(?:link|script|img)\b[^>]*?(?:href|src)=\"([^\"]+)\"", page)))


def test_the_image_serves_in_production_from_its_own_commands_in_a_clean_environment(
    built_image: Image, data_dir: Path
) -> None:
    image = built_image
    migrate: list[str] = SERVICES["migrate"]["command"]
    done = image.run(migrate, image.migrate)
    assert done.returncode == 0, done.stderr
    assert "Made the superuser staff@example.com." in done.stdout

    healthcheck = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert image.run(healthcheck, image.app).returncode != 0
    files = image.files()
    command = json.loads(instruction("CMD"))
    web = ChildProcess(
        [found(command[0], image.app), *command[1:]],
        log_path=data_dir / "web.log",
        cwd=image.folder,
        env=image.app,
    )
    try:
        assert wait_until(lambda: image.run(healthcheck, image.app).returncode == 0, seconds=120), web.log_text()
        url = f"http://{HOST}:{image.app['PORT']}"
        with httpx2.Client(base_url=url, headers={"Host": "chat.example.com"}, trust_env=False, timeout=30) as client:
            ready = client.get("/api/v1/health/ready")
            assert (ready.status_code, ready.json()) == (
                200,
                {"status": "ok", "checks": {"database": "connected", "mongo": "connected", "redis": "connected"}},
            )
            for path in ("/docs", "/admin/"):
                page = client.get(path, follow_redirects=True)
                assert page.status_code == 200
                assets = assets_of(page.text)
                assert any(asset.endswith(".css") for asset in assets)
                assert any(asset.endswith(".js") for asset in assets)
                answers = {asset: client.get(asset).status_code for asset in assets}
                assert answers == dict.fromkeys(assets, 200)
            assert client.get("/api/v1/health", headers={"Host": "elsewhere.example.com"}).status_code == 400
            body = {"email": "ann@example.com", "password": "password"}
            assert client.post("/api/v1/auth/register", json=body).status_code == 422
            assert client.post("/api/v1/auth/register", json={**body, "password": "no common one"}).status_code == 201
        assert image.files() == files
        assert not Path("/nonexistent").exists()
        assert web.stop(signal.SIGTERM, 60)
        assert web.exit_code() == 0
    finally:
        web.kill()
    assert image.run(healthcheck, image.app).returncode != 0


def test_the_image_names_all_faults_of_its_settings_at_once_and_does_not_start(image: Image) -> None:
    faulty = {**image.app, "JWT_SECRET": "short", "REDIS_URL": "", "RATE_LIMIT_REQUESTS": "many"}
    done = image.run(json.loads(instruction("CMD")), faulty)
    assert done.returncode != 0
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()][-1] == (
        "EdgeChat cannot start with these settings:\n"
        "  JWT_SECRET: must have 32 bytes or more\n"
        "  RATE_LIMIT_REQUESTS: Not a valid integer.\n"
        "  REDIS_URL: required in production"
    )
