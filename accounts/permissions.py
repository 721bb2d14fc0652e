"""Permissions in organizations: the one table that every call about organizations uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from accounts.models import Membership, Organization
from edgechat.errors import PermissionDenied

Role = Membership.Role


class Action(StrEnum):
    READ = "read"
    READ_USAGE = "read_usage"
    LEAVE = "leave"
    RENAME = "rename"
    DELETE = "delete"
    MANAGE_MEMBERS = "manage_members"
    MANAGE_OWNERS = "manage_owners"


ALLOWED: Mapping[Action, frozenset[Role]] = {
    Action.READ: frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER}),
    Action.READ_USAGE: frozenset({Role.OWNER, Role.ADMIN}),
    Action.LEAVE: frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER}),
    Action.RENAME: frozenset({Role.OWNER, Role.ADMIN}),
    Action.DELETE: frozenset({Role.OWNER}),
    Action.MANAGE_MEMBERS: frozenset({Role.OWNER, Role.ADMIN}),
    Action.MANAGE_OWNERS: frozenset({Role.OWNER}),
}


def is_allowed(action: Action, *, role: str | None, is_superuser: bool) -> bool:
    """Whether a user with this role may do this. `role` is None for a user who is not in the organization."""
    return is_superuser or role in ALLOWED[action]


def managing(*roles: str) -> Action:
    """The action that a user needs to give, change or remove these roles."""
    return Action.MANAGE_OWNERS if Role.OWNER in roles else Action.MANAGE_MEMBERS


@dataclass(frozen=True)
class Access:
    """A user's access to an organization. `role` is None for a superuser who is not a member."""

    organization: Organization
    role: str | None
    is_superuser: bool

    def require(self, action: Action) -> None:
        """Raises PermissionDenied unless the user may."""
        if not is_allowed(action, role=self.role, is_superuser=self.is_superuser):
            raise PermissionDenied
