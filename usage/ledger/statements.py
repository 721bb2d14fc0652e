"""The SQL of the ledger. Each statement is one call's whole effect on its entry, its budgets and the hourly sums."""

# ruff: noqa: S608  (statements are put together from constants)

from __future__ import annotations

from usage.ledger.local_models import PREFIX, SCRIPTED

# The model whose price a settled entry has: the one that answered, if it reported its name.
PAID_MODEL = "coalesce(nullif(answered_by, ''), model)"
# `models/gemini-x-001` and `gemini-x@001` are versions of gemini-x and have its price if they have none of their own.
_BASE = "regexp_replace({name}, '(-[0-9]{{3,8}}|-latest|@.*)$', '')"
_ANSWERED, _REQUESTED = "%(answered_by)s::text", "entry.model"
_PAID = f"coalesce(nullif({_ANSWERED}, ''), {_REQUESTED})"
_IS_LOCAL = f"starts_with({_PAID}, '{PREFIX}') AND {_PAID} <> '{SCRIPTED}'"

# The cost of the row `entry` in millionths, NULL without a price: the price on the day of the call of the model that
# answered; if it has none, that of the requested model. A local model costs nothing.
_COST = f"""
    SELECT CASE WHEN {_IS_LOCAL} THEN 0 ELSE (SELECT round(((%(input)s::numeric - %(cached)s) * input_micros
                  + %(cached)s::numeric * cached_input_micros
                  + %(output)s::numeric * output_micros) / 1000000)
      FROM (VALUES (1, {_ANSWERED}), (2, {_BASE.format(name=_ANSWERED)}),
                   (3, {_REQUESTED}), (4, {_BASE.format(name=_REQUESTED)})) AS known (rank, name)
      JOIN usage_modelprice AS price ON price.model = known.name
     WHERE price.valid_from <= (entry.opened_at AT TIME ZONE 'UTC')::date
     ORDER BY known.rank, price.valid_from DESC
     LIMIT 1) END
"""

# The settled calls from one day to before another (UTC), summed up by day, model and organization.
COSTS_OF_DAYS = f"""
    SELECT (settled_at AT TIME ZONE 'UTC')::date AS date, {PAID_MODEL} AS model, organization_id, count(*) AS calls,
           count(*) - count(cost_micros) AS unpriced_calls, sum(input_tokens) AS input_tokens,
           sum(output_tokens) AS output_tokens, coalesce(sum(cost_micros), 0) AS cost_micros
      FROM usage_ledgerentry
     WHERE settled_at >= %(costs_from)s::date::timestamp AT TIME ZONE 'UTC'
       AND settled_at < %(costs_until)s::date::timestamp AT TIME ZONE 'UTC'
     GROUP BY 1, 2, 3
"""

# Without any limit, least() returns its first argument, the requested output.
OPEN = """
    WITH account AS (
        SELECT id, user_id, organization_id, reserved_tokens,
               CASE WHEN month = %(month)s THEN month_tokens ELSE 0 END AS month_tokens,
               CASE WHEN day = %(day)s THEN day_tokens ELSE 0 END AS day_tokens
          FROM usage_spending
         WHERE user_id = %(user)s OR organization_id = %(organization)s
         ORDER BY id
           FOR UPDATE
    ), budget AS (
        SELECT CASE WHEN account.user_id IS NULL THEN 'organization' ELSE 'user' END AS subject, period.name,
               least(CASE WHEN chosen.id IS NULL THEN period.usual ELSE chosen.token_limit END, period.unverified)
                   AS token_limit,
               period.used, account.reserved_tokens AS reserved
          FROM account
         CROSS JOIN LATERAL (
                VALUES ('month', account.month_tokens, %(monthly_limit)s::bigint,
                        (SELECT %(unverified_limit)s::bigint
                           FROM accounts_user WHERE id = account.user_id AND NOT is_verified)),
                       ('day', account.day_tokens, NULL, NULL)
               ) AS period (name, used, usual, unverified)
          LEFT JOIN usage_budget AS chosen
            ON chosen.period = period.name
           AND (chosen.user_id = account.user_id OR chosen.organization_id = account.organization_id)
    ), room AS (
        SELECT least(%(output)s, min(token_limit - used - reserved) - %(input)s) AS output FROM budget
    ), opened AS (
        INSERT INTO usage_ledgerentry (
               attempt_id, user_id, organization_id, purpose, model, input_tokens, output_tokens, cached_tokens,
               thinking_tokens, estimated, reserved_tokens, opened_at, holder, abandoned_after, answered_by, request_id)
        SELECT %(attempt_id)s, %(user)s, %(organization)s, %(purpose)s, %(model)s, %(input)s, 0, 0,
               0, true, %(input)s + room.output, %(now)s, %(holder)s, %(abandoned_after)s, '',
               %(request_id)s
          FROM room
         WHERE room.output > 0 AND (SELECT count(*) FROM account) = %(accounts)s
        RETURNING reserved_tokens
    ), reserved AS (
        UPDATE usage_spending
           SET reserved_tokens = usage_spending.reserved_tokens + opened.reserved_tokens
          FROM account, opened
         WHERE usage_spending.id = account.id
    )
    SELECT (SELECT count(*) FROM account), room.output,
           (SELECT json_agg(json_build_array(subject, name, token_limit, used, reserved))
              FROM budget WHERE token_limit IS NOT NULL AND room.output <= 0)
      FROM room
"""

# The count of a past month or day restarts, unless the clock of another process is ahead of this one's.
_TAKE_FROM_SPENDING = """account AS (
        SELECT spending.id, closed.reserved_tokens, coalesce(closed.cost_micros, 0) AS cost_micros
          FROM usage_spending AS spending, closed
         WHERE spending.user_id = closed.user_id OR spending.organization_id = closed.organization_id
         ORDER BY spending.id
           FOR UPDATE OF spending
    ), spent AS (
        UPDATE usage_spending
           SET reserved_tokens = greatest(0, usage_spending.reserved_tokens - account.reserved_tokens),
               month_tokens = CASE WHEN month < %(month)s THEN %(total)s ELSE month_tokens + %(total)s END,
               month_cost_micros = account.cost_micros
                   + CASE WHEN month < %(month)s THEN 0 ELSE month_cost_micros END,
               month = greatest(month, %(month)s),
               day_tokens = CASE WHEN day < %(day)s THEN %(total)s ELSE day_tokens + %(total)s END,
               day = greatest(day, %(day)s)
          FROM account
         WHERE usage_spending.id = account.id
    )"""

_ADD = """DO UPDATE
           SET input_tokens = sums.input_tokens + excluded.input_tokens,
               output_tokens = sums.output_tokens + excluded.output_tokens"""

# The sums over settled entries that a user's day has, and how those of another row are added to it.
OF_USER = """count(*) AS calls, count(*) - count(cost_micros) AS unpriced_calls, sum(input_tokens) AS input_tokens,
               sum(output_tokens) AS output_tokens, coalesce(sum(cost_micros), 0) AS cost_micros"""
_USER_DAY = """INSERT INTO usage_userday AS sums (user_id, date, requests, failed, calls, unpriced_calls, input_tokens,
                                           output_tokens, cost_micros)"""
_ADD_CALLS = """ON CONFLICT (user_id, date) DO UPDATE
           SET calls = sums.calls + excluded.calls,
               unpriced_calls = sums.unpriced_calls + excluded.unpriced_calls,
               input_tokens = sums.input_tokens + excluded.input_tokens,
               output_tokens = sums.output_tokens + excluded.output_tokens,
               cost_micros = sums.cost_micros + excluded.cost_micros"""

SETTLE = f"""
    WITH closed AS (
        UPDATE usage_ledgerentry AS entry
           SET input_tokens = %(input)s, output_tokens = %(output)s, cached_tokens = %(cached)s,
               thinking_tokens = %(thinking)s, estimated = %(estimated)s, settled_at = %(now)s,
               attempt_id = CASE WHEN user_id IS NULL AND purpose <> 'check' THEN 'erased:' || entry.id
                                 ELSE attempt_id END,
               answered_by = {_ANSWERED}, cost_micros = ({_COST})
         WHERE attempt_id = %(attempt_id)s AND settled_at IS NULL
        RETURNING user_id, organization_id, reserved_tokens, purpose, {PAID_MODEL} AS paid_model, cost_micros
    ), {_TAKE_FROM_SPENDING}, of_organization AS (
        INSERT INTO usage_organizationusage AS sums (organization_id, user_id, hour, input_tokens, output_tokens)
        SELECT organization_id, user_id, date_trunc('hour', %(now)s, 'UTC'), %(input)s, %(output)s
          FROM closed
         WHERE organization_id IS NOT NULL
        ON CONFLICT (organization_id, user_id, hour) {_ADD}
    ), of_user AS (
        INSERT INTO usage_hourlyusage AS sums (user_id, hour, requests, input_tokens, output_tokens)
        SELECT user_id, date_trunc('hour', %(now)s, 'UTC'), 0, %(input)s, %(output)s
          FROM closed
         WHERE user_id IS NOT NULL
        ON CONFLICT (user_id, hour) {_ADD}
    ), of_day AS (
        {_USER_DAY}
        SELECT user_id, %(day)s, 0, 0, 1, (cost_micros IS NULL)::int, %(input)s, %(output)s, coalesce(cost_micros, 0)
          FROM closed
        {_ADD_CALLS}
    )
    SELECT purpose, paid_model, cost_micros FROM closed
"""

DISCARD = f"""
    WITH closed AS (
        DELETE FROM usage_ledgerentry WHERE attempt_id = %(attempt_id)s AND settled_at IS NULL
        RETURNING user_id, organization_id, reserved_tokens, cost_micros
    ), {_TAKE_FROM_SPENDING}
    SELECT
"""

ABANDONED = """
    SELECT attempt_id, input_tokens, purpose, user_id, abandoned_after < now()
      FROM usage_ledgerentry AS entry
      LEFT JOIN usage_ledgerholder AS maker ON maker.name = entry.holder
     WHERE settled_at IS NULL
       AND (abandoned_after < now()
            OR (entry.holder <> '' AND (maker.name IS NULL OR maker.dead)))
     LIMIT 1000
"""

FORGET_MEMBER = f"""
    WITH known AS (
        DELETE FROM usage_organizationusage WHERE user_id = %(user)s
        RETURNING organization_id, hour, input_tokens, output_tokens
    )
    INSERT INTO usage_organizationusage AS sums (organization_id, user_id, hour, input_tokens, output_tokens)
    SELECT organization_id, NULL, hour, input_tokens, output_tokens FROM known
     ORDER BY organization_id, hour
    ON CONFLICT (organization_id, user_id, hour) {_ADD}
"""

FORGET_DAYS = f"""
    WITH known AS (
        DELETE FROM usage_userday WHERE user_id = %(user)s
        RETURNING date, calls, unpriced_calls, input_tokens, output_tokens, cost_micros
    )
    {_USER_DAY}
    SELECT NULL, date, 0, 0, calls, unpriced_calls, input_tokens, output_tokens, cost_micros FROM known
     WHERE calls > 0
     ORDER BY date
    {_ADD_CALLS}
"""
