from django.db import migrations

# The costs of the running month so far. Calls that processes of the previous version settle meanwhile are missing until
# `rebuild_usage` adds them.
COSTS = """
    UPDATE usage_spending AS spending SET month_cost_micros = found.cost
      FROM (SELECT {owner}, sum(cost_micros) AS cost
              FROM usage_ledgerentry
             WHERE settled_at >= date_trunc('month', now(), 'UTC') AND cost_micros > 0 AND {owner} IS NOT NULL
             GROUP BY {owner}) AS found
     WHERE found.{owner} = spending.{owner} AND spending.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("usage", "0013_budget_warnings")]

    operations = [
        migrations.RunSQL([COSTS.format(owner=owner) for owner in ("user_id", "organization_id")], migrations.RunSQL.noop),
    ]
