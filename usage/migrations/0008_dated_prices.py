"""Gives each price a first day. Existing prices keep applying from the beginning. Adds the default model's price."""

from datetime import date

from django.db import migrations, models

import usage.models

BEGINNING = date(2000, 1, 1)
# As in 0006, for the default model. Input and output are from Google's page
# (https://ai.google.dev/gemini-api/docs/pricing) on 2026-10-07. Cached input is a tenth of input there, as for all
# models of this family.
MODEL, PRICE = "gemini-3.5-flash-lite", (300_000, 30_000, 2_500_000)


def add_price(apps, schema_editor):
    prices = apps.get_model("usage", "ModelPrice").objects
    of_input, of_cached_input, of_output = PRICE
    if not prices.filter(model=MODEL).exists():
        prices.create(
            model=MODEL,
            valid_from=BEGINNING,
            input_micros=of_input,
            cached_input_micros=of_cached_input,
            output_micros=of_output,
        )


class Migration(migrations.Migration):
    dependencies = [("usage", "0007_indexes_of_constraints")]

    operations = [
        migrations.AddField(
            model_name="ledgerentry",
            name="answered_by",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The model or its version that answered, whose price applies; empty if it did not report its name.",
                max_length=100,
            ),
        ),
        migrations.AlterField(
            model_name="ledgerentry",
            name="model",
            field=models.CharField(help_text="The requested one.", max_length=100),
        ),
        migrations.AlterModelOptions(name="modelprice", options={"ordering": ("model", "-valid_from")}),
        migrations.AlterField(model_name="modelprice", name="model", field=models.CharField(max_length=100)),
        migrations.AddField(
            model_name="modelprice", name="valid_from", field=models.DateField(default=BEGINNING), preserve_default=False
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="valid_from",
            field=models.DateField(default=usage.models.today, help_text="The first day, UTC."),
        ),
        migrations.AddConstraint(
            model_name="modelprice",
            constraint=models.UniqueConstraint(fields=("model", "valid_from"), name="price_once_a_day"),
        ),
        migrations.RunPython(add_price, migrations.RunPython.noop),
    ]
