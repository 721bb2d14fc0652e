"""Checks that keep rows from being written for an account that is being deleted, as they would never be deleted.

A deletion first marks the user's row and then deletes from all stores. So code that writes a row locks the user's row
first and checks the mark, and code that writes to another store checks the mark again after the write.
"""

from __future__ import annotations

from accounts.models import User
from edgechat.errors import NotAuthenticated


def lock_account(user_id: int) -> User:
    """The active account, locked: it is not deleted or deactivated before the transaction ends.

    Raises NotAuthenticated if there is none, because the account's tokens are invalid then.
    """
    account = User.objects.select_for_update(no_key=True).filter(pk=user_id, is_active=True).first()
    if account is None:
        raise NotAuthenticated
    return account


def is_deleted(user_id: int) -> bool:
    """Whether an account is deleted or its deletion has started."""
    return not User.objects.filter(pk=user_id, deletion_requested_at=None).exists()
