"""Whose accounts are there: what is written for one that is being deleted would stay for good.

Its deletion marks the user's row first, and looks into all stores after that. So rows are written while that row is
locked and was not marked, and what is written to another store is looked at again after it.
"""

from __future__ import annotations

from accounts.models import User
from edgechat.errors import NotAuthenticated


def lock_account(user_id: int) -> User:
    """The active account, which is neither deleted nor shut out before the transaction ends. Raises NotAuthenticated,
    as by then its tokens are worth nothing.
    """
    account = User.objects.select_for_update(no_key=True).filter(pk=user_id, is_active=True).first()
    if account is None:
        raise NotAuthenticated
    return account


def is_deleted(user_id: int) -> bool:
    """Whether an account is gone, or its deletion has begun."""
    return not User.objects.filter(pk=user_id, deletion_requested_at=None).exists()
