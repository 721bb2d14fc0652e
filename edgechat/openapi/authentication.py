"""The name of our authentication in the OpenAPI file."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

DESCRIPTION = (
    "An access token (a JWT), or for the calls below `/api/v1/ai`, `/api/v1/openai` and `/api/v1/chat` an API key "
    "(`ec_…`) with their scope. All other calls refuse API keys with 403."
)


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.AccessTokenAuthentication"
    name = "accessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": DESCRIPTION}
