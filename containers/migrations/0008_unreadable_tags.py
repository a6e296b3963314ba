"""Note since when the registry cannot read a tag, and when it last said so."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("containers", "0007_token_keys")]

    operations = [
        migrations.AddField(
            model_name="tag",
            name="unreadable_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="tag",
            name="unreadable_at",
            field=models.DateTimeField(null=True),
        ),
    ]
