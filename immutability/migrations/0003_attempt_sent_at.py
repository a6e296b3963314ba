from django.db import migrations, models
from django.db.models import F


def read_is_sent(apps, schema_editor):
    Attempt = apps.get_model("immutability", "Attempt")
    Attempt.objects.filter(is_sent=True).update(sent_at=F("opened_at"))
    # Nobody wrote down whether an open attempt was sent without an answer: it may have been.
    Attempt.objects.filter(is_sent=True, outcome="open").update(is_doubted=True)


def write_is_sent(apps, schema_editor):
    Attempt = apps.get_model("immutability", "Attempt")
    Attempt.objects.filter(sent_at__isnull=False).update(is_sent=True)


class Migration(migrations.Migration):
    dependencies = [("immutability", "0002_initial")]

    operations = [
        migrations.AddField("attempt", "sent_at", models.DateTimeField(null=True)),
        migrations.AddField("attempt", "is_doubted", models.BooleanField(default=False)),
        migrations.RunPython(read_is_sent, write_is_sent),
        migrations.RemoveField("attempt", "is_sent"),
        migrations.AlterField(
            "attempt",
            "kind",
            models.CharField(
                choices=[
                    ("announced", "Announced"),
                    ("push", "Push"),
                    ("delete", "Delete"),
                    ("adopt", "Adopt"),
                ],
                default="announced",
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            "attempt",
            models.Index(
                fields=["workspace", "repository", "digest"],
                name="attempt_delete",
                condition=models.Q(kind="delete"),
            ),
        ),
    ]
