"""Validation of bodies, query strings and path ids. All faults become one 422 (or a 404)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from rest_framework import serializers, validators
from rest_framework.request import Request

from edgechat.errors import Invalid, field_errors


class LongCharField(serializers.CharField):
    """A text that may be long: REST framework checks each character, in Python, before it checks the length."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, **kwargs)
        self._most = max_length
        self.validators = [
            one for one in self.validators if not isinstance(one, validators.ProhibitSurrogateCharactersValidator)
        ]

    def to_internal_value(self, data: Any) -> str:
        text: str = super().to_internal_value(data)
        if len(text) > self._most:
            self.fail("max_length", max_length=self._most)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise serializers.ValidationError("Surrogate characters are not allowed.") from None
        return text


class BoundedListField(serializers.ListField):
    """A list whose length is checked first: REST framework validates each entry, and makes its errors, before that."""

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, **kwargs)
        self._most = max_length

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and len(data) > self._most:
            self.fail("max_length", max_length=self._most)
        return super().to_internal_value(data)


# The JSON types that each field accepts. REST framework converts other types too, as it does for forms.
_OWN_TYPES: dict[type[serializers.Field[Any, Any, Any, Any]], tuple[type, ...]] = {
    serializers.CharField: (str,),
    serializers.BooleanField: (bool,),
    serializers.IntegerField: (int, float),
    serializers.FloatField: (int, float),
    serializers.ChoiceField: (str,),
    serializers.UUIDField: (str,),
}


def validated_body(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The JSON body's fields. Raises Invalid with `body.*` fields. An absent body is an empty object."""
    data = request.data
    if isinstance(data, dict):
        fields = _fields(serializer)
        data = {name: _of_own_type(fields.get(name), value) for name, value in data.items()}
    return _validated(serializer, data, prefix="body")


def validated_query(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The query string's parameters. Raises Invalid with `query.*` fields."""
    return _validated(serializer, request.query_params, prefix="query")


def _of_own_type(field: Any, value: Any) -> Any:
    """The value; for a value of another type than the field's, an object that the field refuses."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        return [_of_own_type(field.child, each) for each in value]
    types = next((types for kind, types in _OWN_TYPES.items() if isinstance(field, kind)), None)
    return value if types is None or value is None or type(value) in types else {}


def integer_id(text: str) -> int:
    """The number in a path. Raises Invalid on `path.id` for everything that cannot be an id."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) < 2**63 and len(text) < 20):
        raise Invalid({"path.id": "A valid integer is required."})
    return int(text)


@functools.cache
def _fields(serializer: type[serializers.Serializer[Any]]) -> Mapping[str, serializers.Field[Any, Any, Any, Any]]:
    """The fields of all objects of a serializer class, which check values and keep none.

    REST framework copies the fields for each object, which takes longer than the checks of a small body.
    """
    return cast("Mapping[str, serializers.Field[Any, Any, Any, Any]]", serializer().fields)


def _validated(serializer: type[serializers.Serializer[Any]], data: Any, *, prefix: str) -> dict[str, Any]:
    checked = serializer(data=data)
    vars(checked)["fields"] = _fields(serializer)
    if not checked.is_valid():
        raise Invalid(field_errors(checked.errors, prefix=prefix))
    validated: dict[str, Any] = checked.validated_data
    return validated
