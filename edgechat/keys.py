"""Keys for single purposes, derived from the operator's one secret."""

import hashlib
import hmac


def derive_key(secret: str, purpose: str) -> str:
    """64 hex digits that depend on secret and purpose. A leaked key reveals no other key."""
    return hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()
