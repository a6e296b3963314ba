from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('workspaces', '0005_append_only_log'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='lockevent',
            index=models.Index(condition=models.Q(('tag', ''), _negated=True), fields=['workspace', 'tag', 'at', 'id'], name='event_by_tag_name'),
        ),
    ]
