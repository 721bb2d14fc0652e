"""Questions about pictures, outside any conversation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from ai.complete.services import PromptAnswer
from ai.gemini import Content, Prompt, PromptPicture
from ai.serializers import ImageOutput, VisionOutput
from ai.vision.pictures import Picture, Rendering, read_picture
from edgechat.sandbox.job_limit import working_for
from usage.models import LedgerEntry


class PictureAnswer(PromptAnswer):
    """The answer to a prompt about pictures. Raises what `read_picture` and PromptAnswer raise."""

    def __init__(self, *, user_id: int, files: Iterable[IO[bytes]], prompt: str) -> None:
        pictures = []
        for file in files:
            with working_for(user_id):
                pictures.append(read_picture(file))
        self._images = [_image_body(picture) for picture in pictures]
        shown = tuple(prompt_picture(picture.for_model) for picture in pictures)
        super().__init__(
            user_id=user_id, prompt=Prompt((Content("user", prompt, shown),)), purpose=LedgerEntry.Purpose.VISION
        )

    def body(self) -> VisionOutput:
        made = self.completion
        return VisionOutput(text=made.text, model=made.model, usage=made.usage.as_body(), images=self._images)


def prompt_picture(picture: Rendering) -> PromptPicture:
    """The rendering of an upload for a prompt."""
    return PromptPicture(picture.width, picture.height, lambda: (picture.data, picture.mime_type))


def _image_body(picture: Picture) -> ImageOutput:
    stored = picture.stored
    return ImageOutput(
        id=None,
        mime_type=stored.mime_type,
        width=stored.width,
        height=stored.height,
        bytes=len(stored.data),
        sha256=picture.sha256,
    )
