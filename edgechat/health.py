"""Is the process up, and are its stores there."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from edgechat import __version__, periodic, store_time
from edgechat.mongo import ping
from edgechat.redis import redis_client

logger = structlog.get_logger(__name__)

# Of each of the stores, so that a call that looks at all of them answers in time.
CHECK_SECONDS = 1.5


def check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def check_redis() -> None:
    redis_client().ping()


CHECKS: dict[str, Callable[[], None]] = {"database": check_database, "mongo": ping, "redis": check_redis}


def store_state(name: str) -> str:
    """`connected` or `error`; the reason goes to the log, never to the caller."""
    try:
        with store_time.at_most(CHECK_SECONDS):
            CHECKS[name]()
    except Exception as error:  # whatever a driver raises means "not there", and a health call must answer
        logger.warning("store_check_failed", store=name, reason=repr(error))
        return "error"
    return "connected"


class StatusSerializer(serializers.Serializer[object]):
    status = serializers.CharField()


class RootSerializer(StatusSerializer):
    app = serializers.CharField()


class StoresSerializer(serializers.Serializer[object]):
    database = serializers.CharField()
    mongo = serializers.CharField()
    redis = serializers.CharField()
    tasks = serializers.CharField(required=False, help_text="Only where a background task of the process is not well.")


class ReadySerializer(StatusSerializer):
    checks = StoresSerializer()


class DatabaseHealthSerializer(StatusSerializer):
    database = serializers.CharField()


class MongoHealthSerializer(StatusSerializer):
    mongo = serializers.CharField()


class RedisHealthSerializer(StatusSerializer):
    redis = serializers.CharField()


class OverviewSerializer(StatusSerializer):
    version = serializers.CharField()
    environment = serializers.CharField()
    database = serializers.CharField()
    timestamp = serializers.DateTimeField()


class HealthView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)


class RootView(HealthView):
    @extend_schema(operation_id="root", tags=["health"], responses=RootSerializer)
    def get(self, request: Request) -> Response:
        """Name of the application."""
        return Response({"status": "ok", "app": settings.APP_NAME})


class LiveView(HealthView):
    @extend_schema(operation_id="health_live", tags=["health"], responses=StatusSerializer)
    def get(self, request: Request) -> Response:
        """The process answers. Touches no store."""
        return Response({"status": "ok"})


class ReadyView(HealthView):
    @extend_schema(operation_id="health_ready", tags=["health"], responses={200: ReadySerializer, 503: ReadySerializer})
    def get(self, request: Request) -> Response:
        """Every store answers, and the process's background tasks go on; 503 names what does not."""
        checks = {name: store_state(name) for name in CHECKS}
        if unwell := periodic.unwell():
            logger.warning("periodic_tasks_unwell", tasks=unwell)
            checks["tasks"] = "error"
        ready = all(state == "connected" for state in checks.values())
        return Response({"status": "ok" if ready else "not ready", "checks": checks}, status=200 if ready else 503)


class StoreView(HealthView):
    """One store; subclasses name it."""

    store = ""

    def answer(self) -> Response:
        state = store_state(self.store)
        healthy = state == "connected"
        return Response({"status": "ok" if healthy else "error", self.store: state}, status=200 if healthy else 503)


class DatabaseView(StoreView):
    store = "database"

    @extend_schema(
        operation_id="health_database",
        tags=["health"],
        responses={200: DatabaseHealthSerializer, 503: DatabaseHealthSerializer},
    )
    def get(self, request: Request) -> Response:
        """PostgreSQL answers."""
        return self.answer()


class MongoView(StoreView):
    store = "mongo"

    @extend_schema(
        operation_id="health_mongo",
        tags=["health"],
        responses={200: MongoHealthSerializer, 503: MongoHealthSerializer},
    )
    def get(self, request: Request) -> Response:
        """MongoDB answers."""
        return self.answer()


class RedisView(StoreView):
    store = "redis"

    @extend_schema(
        operation_id="health_redis",
        tags=["health"],
        responses={200: RedisHealthSerializer, 503: RedisHealthSerializer},
    )
    def get(self, request: Request) -> Response:
        """Redis answers."""
        return self.answer()


class LegacyHealthView(HealthView):
    @extend_schema(operation_id="health_legacy", tags=["health"], responses=StatusSerializer)
    def get(self, request: Request) -> Response:
        """As the organizations backend answered."""
        return Response({"status": "healthy"})


class OverviewView(HealthView):
    @extend_schema(
        operation_id="health_overview", tags=["health"], responses={200: OverviewSerializer, 503: OverviewSerializer}
    )
    def get(self, request: Request) -> Response:
        """Version, environment and the database, as the accounts backend answered."""
        state = store_state("database")
        healthy = state == "connected"
        body = {
            "status": "healthy" if healthy else "unhealthy",
            "version": __version__,
            "environment": settings.ENVIRONMENT,
            "database": state,
            "timestamp": timezone.now(),
        }
        return Response(body, status=200 if healthy else 503)
