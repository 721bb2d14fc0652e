from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("usage", "0016_request_reasons")]

    operations = [
        migrations.AlterModelOptions("RequestRecord", {"ordering": ("-at",), "verbose_name": "request"}),
        migrations.AlterModelOptions("ModelPrice", {"ordering": ("model", "-valid_from"), "verbose_name": "price"}),
    ]
