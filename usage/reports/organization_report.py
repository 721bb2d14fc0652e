"""The usage of an organization and of each of its members."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from django.utils import timezone

from accounts.models import Organization, User
from accounts.organizations.services import access_organization
from accounts.permissions import Action
from usage.reports.services import TokenTotals, recent_hours
from usage.serializers import MemberUsageOutput

# There are 500 members at most, and they come first, so this limits the former members.
MAX_LISTED = 1000


@dataclass(frozen=True)
class OrganizationTotals:
    """`members`: members in the order in which they were added, then former members with usage, the most tokens first,
    then deleted accounts."""

    organization: Organization
    tokens: TokenTotals
    members: list[MemberUsageOutput]


_MEMBERS = """
    WITH used AS (
        SELECT user_id, sum(input_tokens) AS input, sum(output_tokens) AS output,
               sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(day)s) AS last_24h,
               sum(input_tokens + output_tokens) FILTER (WHERE hour >= %(week)s) AS last_7d
          FROM usage_organizationusage
         WHERE organization_id = %(organization)s
         GROUP BY user_id
        HAVING sum(input_tokens + output_tokens) > 0
    ), people AS (
        SELECT users.id, CASE WHEN membership.id IS NOT NULL THEN users.email END AS email,
               input, output, last_24h, last_7d,
               row_number() OVER (ORDER BY membership.id, users.id IS NULL, input + output DESC, users.id) AS place
          FROM used
          FULL JOIN (
              SELECT id, user_id FROM accounts_membership
               WHERE organization_id = %(organization)s AND user_id IS NOT NULL
          ) AS membership USING (user_id)
          LEFT JOIN accounts_user AS users ON users.id = user_id AND users.deletion_requested_at IS NULL
    )
    SELECT CASE WHEN place <= %(listed)s THEN id END AS user_id, CASE WHEN place <= %(listed)s THEN email END AS email,
           coalesce(sum(input), 0), coalesce(sum(output), 0), coalesce(sum(last_24h), 0), coalesce(sum(last_7d), 0)
      FROM people
     GROUP BY 1, 2
     ORDER BY min(place)
"""


def organization_usage(*, user: User, organization_id: int) -> OrganizationTotals:
    """The usage of an organization, for its owners and admins. Raises OrganizationNotFound and PermissionDenied.

    The time grows with the number of hours in which members used tokens, not with the number of calls.
    """
    access = access_organization(user=user, organization_id=organization_id)
    access.require(Action.READ_USAGE)
    day_ago, week_ago = recent_hours(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(
            _MEMBERS,
            {"organization": organization_id, "day": day_ago, "week": week_ago, "listed": MAX_LISTED},
        )
        used = [(user_id, email, TokenTotals(*map(int, sums))) for user_id, email, *sums in cursor.fetchall()]
    members: list[MemberUsageOutput] = [
        {"user_id": user_id, "email": email, "tokens": tokens.as_body()} for user_id, email, tokens in used
    ]
    return OrganizationTotals(access.organization, sum((tokens for *_, tokens in used), TokenTotals()), members)
