"""The cost of a call: the price of the model that answered, on the day on which the call was made."""

from __future__ import annotations

# The model whose price a settled entry has: the one that answered, if it reported its name.
PAID_MODEL = "coalesce(nullif(answered_by, ''), model)"
# `models/gemini-x-001` and `gemini-x@001` are versions of gemini-x and have its price if they have none of their own.
_BASE = "regexp_replace({name}, '(-[0-9]{{3,8}}|-latest|@.*)$', '')"
_ANSWERED, _ASKED = "%(answered_by)s::text", "entry.model"
_NAMES = ", ".join(
    f"({place}, {name})"
    for place, name in enumerate((_ANSWERED, _BASE.format(name=_ANSWERED), _ASKED, _BASE.format(name=_ASKED)))
)

# The cost of the row `entry` in millionths, NULL without a price. If the model that answered has no price, that of the
# requested model applies.
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
