"""Every route. Paths are written without a trailing slash; `edgechat.http.middleware` makes it optional."""

from django.contrib import admin
from django.urls import include, path

from edgechat import errors, health
from edgechat.metrics.views import MetricsView
from edgechat.openapi.views import HashedOpenAPIView, OpenAPIView, RedocBundleView, RedocView, SwaggerView
from edgechat.playground.views import PlaygroundView

urlpatterns = [
    path("", health.RootView.as_view()),
    path("health", health.OverviewView.as_view()),
    path("api/health", health.LegacyHealthView.as_view()),
    path("api/v1/health", health.LiveView.as_view()),
    path("api/v1/health/ready", health.ReadyView.as_view()),
    path("api/v1/health/db", health.DatabaseView.as_view()),
    path("api/v1/health/mongo", health.MongoView.as_view()),
    path("api/v1/health/redis", health.RedisView.as_view()),
    path("metrics", MetricsView.as_view()),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("conversations.urls")),
    path("api/v1/", include("ai.urls")),
    path("api/v1/", include("usage.urls")),
    path("api/v1/openapi.json", OpenAPIView.as_view()),
    path("docs", SwaggerView.as_view()),
    path("docs/openapi.<slug:digest>.json", HashedOpenAPIView.as_view()),
    path("redoc", RedocView.as_view()),
    path("redoc/bundles/redoc.standalone.js", RedocBundleView.as_view()),
    path("playground", PlaygroundView.as_view(), name="playground"),
    # The links in e-mails.
    path("reset-password", PlaygroundView.as_view()),
    path("verify-email", PlaygroundView.as_view()),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.permission_denied
handler404 = errors.page_not_found
handler500 = errors.server_error
