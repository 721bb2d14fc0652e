"""A first program: an answer as it is written, also when the connection is lost. edgechat_client.py is beside it."""

# --8<-- [start:program]
import os
from typing import Any
from uuid import uuid4

import httpx
from edgechat_client import EdgeChat

API = os.environ.get("API", "http://127.0.0.1:8000/api/v1").rstrip("/") + "/"
EMAIL = os.environ.get("EMAIL", "ann@example.com")
PASSWORD = os.environ.get("PASSWORD", "correct horse battery")

# Create the account. If the address has one, this is refused (400), and the login below uses that one.
httpx.post(API + "auth/register", json={"email": EMAIL, "password": PASSWORD})
pairs: list[dict[str, Any]] = []  # an app stores the latest one where it survives the end of the program
chat = EdgeChat.log_in(API, EMAIL, PASSWORD, save=pairs.append)
conversation = chat.call("POST", "chat/conversations", key=str(uuid4()))

shown = ""
for reply in chat.stream(conversation["id"], "Tell me a story about a lighthouse.", key=str(uuid4())):
    if not reply.text.startswith(shown):  # the answer has started again
        print("\n---")
        shown = ""
    print(reply.text[len(shown) :], end="", flush=True)
    shown = reply.text
    if reply.ended and reply.message:
        print(f"\n({reply.message['status']})")
# --8<-- [end:program]
