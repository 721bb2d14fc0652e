"""REST framework, and the published OpenAPI file."""

from __future__ import annotations

from edgechat import __version__
from edgechat.openapi import info
from edgechat.settings.deployment import APP_NAME

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.AccessTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    # For OpenAPI: `edgechat.http.bodies.Answer` encodes its body itself.
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["edgechat.http.json_body.JSONBodyParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "edgechat.http.json_body.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "edgechat.openapi.schema.BodySchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "edgechat.errors.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
    "NON_FIELD_ERRORS_KEY": "non_field_errors",
}

SPECTACULAR_SETTINGS = {
    "TITLE": APP_NAME,
    "DESCRIPTION": info.DESCRIPTION,
    "LICENSE": info.LICENSE,
    "SERVERS": info.SERVERS,
    "TAGS": info.TAGS,
    "VERSION": __version__,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "PREPROCESSING_HOOKS": ["edgechat.openapi.notes.apply_notes"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "edgechat.openapi.enums.describe_enums",
        "edgechat.openapi.examples.add_examples",
        "edgechat.openapi.streams.add_streams",
        "edgechat.openapi.headers.add_headers",
        "edgechat.openapi.nullable.add_null",
    ],
    "ENUM_NAME_OVERRIDES": {
        "UserRole": ["user", "admin"],
        "OrganizationRole": ["owner", "admin", "member"],
        "MemberStatus": ["active", "invited"],
        "ApiKeyScope": ["ai", "chat"],
        "ImportStatus": "conversations.imports.queries.STATUSES",
        "ImportSource": "conversations.imports.queries.SOURCES",
        "MessageOutputRoleEnum": "conversations.documents.ROLES",
        "MessageOutputStatusEnum": "conversations.documents.STATUSES",
    },
}
