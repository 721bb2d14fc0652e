"""Keys for single purposes, derived from the one secret that an operator keeps."""

import hashlib
import hmac


def derive_key(secret: str, purpose: str) -> str:
    """64 hex digits that depend on secret and purpose; who learns one of them learns no other."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()
