"""What a call costs: by the model that answered it, at the price of the day on which it was made."""

from __future__ import annotations

# The model that a settled row of the ledger is paid for: the one that answered, where it said its name.
PAID_MODEL = "coalesce(nullif(answered_by, ''), model)"
# Of `models/gemini-x-001` or `gemini-x@001`, which is a version of it, the price of gemini-x is the one that is known.
_BASE = "regexp_replace({name}, '(-[0-9]{{3,8}}|-latest|@.*)$', '')"
_ANSWERED, _ASKED = "%(answered_by)s::text", "entry.model"
_NAMES = ", ".join(
    f"({place}, {name})"
    for place, name in enumerate((_ANSWERED, _BASE.format(name=_ANSWERED), _ASKED, _BASE.format(name=_ASKED)))
)

# The cost of the row `entry` in millionths, NULL where there was no price; the model that was asked stands in for one
# that answered and has none.
COST_OF_ENTRY = f"""
    SELECT round(((%(input)s::numeric - %(cached)s) * input_micros
                  + %(cached)s::numeric * cached_input_micros
                  + %(output)s::numeric * output_micros) / 1000000)
      FROM (VALUES {_NAMES}) AS known (place, name)
      JOIN usage_modelprice AS price ON price.model = known.name
     WHERE price.valid_from <= (entry.opened_at AT TIME ZONE 'UTC')::date
     ORDER BY known.place, price.valid_from DESC
     LIMIT 1
"""  # noqa: S608  (constants)
