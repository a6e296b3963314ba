from django.db import migrations, models
from django.db.models import F


def read_is_sent(apps, schema_editor):
    Attempt = apps.get_model("immutability", "Attempt")
    sent = Attempt.objects.filter(is_sent=True)
    # Each row once: a second change of it in one transaction would keep the table from being
    # altered. Nobody wrote down whether an open attempt was sent without an answer.
    sent.filter(outcome="open").update(sent_at=F("opened_at"), is_doubted=True)
    sent.exclude(outcome="open").update(sent_at=F("opened_at"))
    # From now on a lock is being deleted only while an attempt says so.
    deletes = Attempt.objects.filter(kind="delete", outcome="open")
    LockedTag = apps.get_model("immutability", "LockedTag")
    for row in LockedTag.objects.filter(state="deleting"):
        if not deletes.filter(tags__tag=row.tag, repository=row.repository).exists():
            row.state, row.replaced_state, row.deleted_by, row.deleted_at = row.replaced_state, "", "", None
            row.save()


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
                    ("check", "Check"),
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
