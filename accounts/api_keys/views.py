"""The user's API keys."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter

from accounts.api_keys.queries import list_api_keys
from accounts.api_keys.serializers import ApiKeyInput, ApiKeysOutput, NewApiKeyOutput, api_key_body
from accounts.api_keys.services import TooManyApiKeys, create_api_key, end_own_api_key
from accounts.requests import AuthenticatedRequest
from edgechat.http.api_view import APIView
from edgechat.http.bodies import Answer, Created, NoContent
from edgechat.http.client_address import caller_of
from edgechat.http.validation import validated_body
from edgechat.openapi.notes import extend_schema, raises

KEY_ID = OpenApiParameter("key_id", location="path")


class ApiKeysView(APIView):
    @extend_schema(operation_id="api_key_list", tags=["accounts"])
    def get(self, request: AuthenticatedRequest) -> Answer[ApiKeysOutput]:
        """List the user's API keys.

        The newest come first, expired ones included. The keys themselves are not stored, so only their beginnings are
        listed.
        """
        keys = list_api_keys(user_id=request.user.pk)
        return Answer(ApiKeysOutput(api_keys=[api_key_body(key) for key in keys]))

    @extend_schema(operation_id="api_key_create", tags=["accounts"], request=ApiKeyInput)
    @raises(TooManyApiKeys)
    def post(self, request: AuthenticatedRequest) -> Created[NewApiKeyOutput]:
        """Create an API key for a program.

        The program sends it as `Authorization: Bearer ec_…`. It is shown in this answer only.

        It works on the calls of its scopes only, with the user's limits and budgets, until it expires or is ended. All
        keys end when the account is deleted or deactivated, or gets another password or, from staff, another address.
        An account can have 50 live keys; more are 409 `too_many_api_keys`.
        """
        data = validated_body(ApiKeyInput, request)
        key, text = create_api_key(
            user_id=request.user.pk,
            name=data["name"],
            scopes=data["scopes"],
            expires_at=data.get("expires_at"),
            caller=caller_of(request._request),
        )
        return Created(NewApiKeyOutput(**api_key_body(key), key=text))


class ApiKeyView(APIView):
    @extend_schema(operation_id="api_key_end", tags=["accounts"], parameters=[KEY_ID])
    def delete(self, request: AuthenticatedRequest, key_id: str) -> NoContent:
        """End an API key.

        It ends immediately, with its open calls. Its row stays in the list of staff.
        """
        end_own_api_key(user_id=request.user.pk, key_id=key_id, caller=caller_of(request._request))
        return NoContent()
