"""Adds prices of the most common models, so that the first dashboard shows costs. Operators check them."""

from django.db import migrations

# Millionths of a US dollar for a million tokens of input, cached input and output. They apply to text, and to prompts of
# up to 200,000 tokens: https://ai.google.dev/gemini-api/docs/pricing
PRICES = {
    "gemini-2.5-flash": (300_000, 30_000, 2_500_000),
    "gemini-2.5-flash-lite": (100_000, 10_000, 400_000),
    "gemini-2.5-pro": (1_250_000, 125_000, 10_000_000),
}


def add_prices(apps, schema_editor):
    prices = apps.get_model("usage", "ModelPrice").objects
    for model, (of_input, of_cached_input, of_output) in PRICES.items():
        prices.get_or_create(
            model=model,
            defaults={
                "input_micros": of_input,
                "cached_input_micros": of_cached_input,
                "output_micros": of_output,
            },
        )


class Migration(migrations.Migration):
    dependencies = [("usage", "0005_raw_since")]

    operations = [migrations.RunPython(add_prices, migrations.RunPython.noop)]
