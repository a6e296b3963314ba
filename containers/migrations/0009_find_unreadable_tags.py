"""Find the tags that the registry could not read, to look at them again."""

from django.db import migrations, models

from workspaces.concurrent_index import AddIndexWithoutLock


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("containers", "0008_unreadable_tags")]

    operations = [
        AddIndexWithoutLock(
            model_name="tag",
            index=models.Index(
                fields=["unreadable_since"],
                name="tag_unreadable",
                condition=models.Q(unreadable_since__isnull=False),
            ),
        ),
    ]
