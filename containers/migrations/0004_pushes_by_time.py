"""Find the pushes of a period: what moved while a tag was not protected."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("containers", "0003_find_tags")]

    operations = [
        migrations.AddIndex(
            model_name="push",
            index=models.Index(fields=["workspace", "at", "id"], name="push_by_time"),
        ),
    ]
