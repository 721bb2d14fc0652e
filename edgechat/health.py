"""Health checks: whether the process answers, and whether its stores do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, NotRequired, TypedDict, TypeVar

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from edgechat import __version__
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer
from edgechat.openapi.notes import extend_schema
from edgechat.processes import periodic
from edgechat.stores import store_time
from edgechat.stores.mongo import ping
from edgechat.stores.redis import redis_client

logger = structlog.get_logger(__name__)

# For each store, so that a call that checks all of them answers in time.
CHECK_SECONDS = 1.5


def check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def check_redis() -> None:
    redis_client().ping()


CHECKS: dict[str, Callable[[], None]] = {"database": check_database, "mongo": ping, "redis": check_redis}


def store_state(name: str) -> str:
    """`connected` or `error`. The reason goes to the log, never to the caller."""
    try:
        with store_time.at_most(CHECK_SECONDS):
            CHECKS[name]()
    except Exception as error:  # a driver may raise anything, and a health call must answer
        logger.warning("store_check_failed", store=name, reason=repr(error))
        return "error"
    return "connected"


class Status(TypedDict):
    status: Annotated[str, "The state in one word."]


class Root(Status):
    app: Annotated[str, "The name of the application."]


class Stores(TypedDict):
    database: Annotated[str, "PostgreSQL: `connected` or `error`."]
    mongo: Annotated[str, "MongoDB: `connected` or `error`."]
    redis: Annotated[str, "Redis: `connected` or `error`."]
    tasks: NotRequired[Annotated[str, "Only if a background task of the process does not run."]]


class Ready(Status):
    checks: Annotated[Stores, "The state of each store."]


class DatabaseHealth(Status):
    database: Annotated[str, "PostgreSQL: `connected` or `error`."]


class MongoHealth(Status):
    mongo: Annotated[str, "MongoDB: `connected` or `error`."]


class RedisHealth(Status):
    redis: Annotated[str, "Redis: `connected` or `error`."]


class Overview(Status):
    version: Annotated[str, "The version of EdgeChat."]
    environment: Annotated[str, "`development` or `production`."]
    database: Annotated[str, "PostgreSQL: `connected` or `error`."]
    timestamp: Annotated[datetime, "The server's time."]


H = TypeVar("H", bound=Status)


class HealthView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)


class RootView(HealthView):
    @extend_schema(operation_id="root", tags=["health"])
    def get(self, request: Request) -> Answer[Root]:
        """Get the name of the application.

        This touches no store.
        """
        return Answer(Root(status="ok", app=settings.APP_NAME))


class LiveView(HealthView):
    @extend_schema(operation_id="health_live", tags=["health"])
    def get(self, request: Request) -> Answer[Status]:
        """Check whether the process answers.

        This touches no store.
        """
        return Answer(Status(status="ok"))


class ReadyView(HealthView):
    @extend_schema(operation_id="health_ready", tags=["health"], responses={200: Ready, 503: Ready})
    def get(self, request: Request) -> Answer[Ready]:
        """Check whether the server can do its work.

        The answer is 200 if every store answers and the process's background tasks run; 503 names what does not.
        """
        checks = Stores(database=store_state("database"), mongo=store_state("mongo"), redis=store_state("redis"))
        if unwell := periodic.unwell():
            logger.warning("periodic_tasks_failing", tasks=unwell)
            checks["tasks"] = "error"
        ready = all(state == "connected" for state in checks.values())
        return Answer(Ready(status="ok" if ready else "not ready", checks=checks), status=200 if ready else 503)


class DatabaseView(HealthView):
    @extend_schema(
        operation_id="health_database", tags=["health"], responses={200: DatabaseHealth, 503: DatabaseHealth}
    )
    def get(self, request: Request) -> Answer[DatabaseHealth]:
        """Check PostgreSQL.

        The answer is 200 if PostgreSQL answers, else 503.
        """
        return _store_answer(DatabaseHealth, "database")


class MongoView(HealthView):
    @extend_schema(operation_id="health_mongo", tags=["health"], responses={200: MongoHealth, 503: MongoHealth})
    def get(self, request: Request) -> Answer[MongoHealth]:
        """Check MongoDB.

        The answer is 200 if MongoDB answers, else 503.
        """
        return _store_answer(MongoHealth, "mongo")


class RedisView(HealthView):
    @extend_schema(operation_id="health_redis", tags=["health"], responses={200: RedisHealth, 503: RedisHealth})
    def get(self, request: Request) -> Answer[RedisHealth]:
        """Check Redis.

        The answer is 200 if Redis answers, else 503.
        """
        return _store_answer(RedisHealth, "redis")


class LegacyHealthView(HealthView):
    @extend_schema(
        operation_id="health_legacy",
        deprecated=True,
        tags=["health"],
        examples=[OpenApiExample("Healthy", value={"status": "healthy"}, response_only=True)],
    )
    def get(self, request: Request) -> Answer[Status]:
        """Check the server, as an older client.

        This answers as the organizations backend did. New clients use `health_live` (GET `/api/v1/health`).
        """
        return Answer(Status(status="healthy"))


class OverviewView(HealthView):
    @extend_schema(
        operation_id="health_overview",
        tags=["health"],
        deprecated=True,
        responses={200: Overview, 503: Overview},
    )
    def get(self, request: Request) -> Answer[Overview]:
        """Check the server and its database, as an older client.

        The answer has the version, the environment and the state of the database, as the accounts backend answered. New
        clients use `health_ready` (GET `/api/v1/health/ready`).
        """
        state = store_state("database")
        healthy = state == "connected"
        body = Overview(
            status="healthy" if healthy else "unhealthy",
            version=__version__,
            environment=settings.ENVIRONMENT,
            database=state,
            timestamp=timezone.now(),
        )
        return Answer(body, status=200 if healthy else 503)


def _store_answer(body: Callable[..., H], store: str) -> Answer[H]:
    state = store_state(store)
    healthy = state == "connected"
    return Answer(body(status="ok" if healthy else "error", **{store: state}), status=200 if healthy else 503)
