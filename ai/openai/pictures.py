"""The pictures of a request: data URLs, and addresses of the public web."""

from __future__ import annotations

import base64
import binascii
import io

from ai.fetch_url import fetch_file
from ai.gemini import PromptPicture
from ai.parsing.limits import MAX_PICTURE_BYTES
from ai.vision.pictures import read_picture
from ai.vision.services import prompt_picture
from edgechat.errors import ApiError, Invalid, TooLarge, UnsupportedType
from edgechat.sandbox.job_limit import working_for

MAX_PICTURES = 10


def read_image_url(url: str, *, user_id: int, field: str) -> PromptPicture:
    """The picture at a URL. Raises Invalid on the field, and StoreUnavailable if other pictures take too long."""
    try:
        with working_for(user_id):
            data = _decoded(url) if url[:5].lower() == "data:" else fetch_file(url, max_bytes=MAX_PICTURE_BYTES)
            return prompt_picture(read_picture(io.BytesIO(data)).for_model)
    except (TooLarge, UnsupportedType) as error:
        raise Invalid({f"body.{field}": error.detail}) from error
    except Invalid as error:
        raise Invalid({f"body.{field}": _message(error)}) from error


def _decoded(url: str) -> bytes:
    declared, _, data = url.partition(",")
    if not declared.lower().endswith(";base64"):
        raise UnsupportedType("A data URL must be in base64")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedType("The data URL is not valid base64") from error


def _message(error: ApiError) -> str:
    return error.errors[0]["message"] if error.errors else error.detail
