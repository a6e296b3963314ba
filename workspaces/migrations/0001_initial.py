"""The database itself keeps the log: rows are never changed or deleted, and counters only grow.

On PostgreSQL the triggers are ALWAYS: they fire with session_replication_role = replica too.
workspaces/log/triggers.py looks for exactly these.
"""


import django.contrib.auth.models
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.utils.timezone
import uuid
import workspaces.models
from django.conf import settings
from django.db import migrations, models


# ---- triggers -------------------------------------------------------------------------------

TABLES = ("workspaces_lockevent", "workspaces_eventseal", "workspaces_checkpoint")
COUNTERS = "workspaces_eventrepeat"

POSTGRESQL = (
    """
    CREATE FUNCTION taglock_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the lock log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    # A counter goes when the event that says how much it counted is there.
    """
    CREATE FUNCTION taglock_counters_grow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.count >= OLD.count
                AND (NEW.id, NEW.workspace, NEW.fingerprint, NEW.hour, NEW.event_id)
                    = (OLD.id, OLD.workspace, OLD.fingerprint, OLD.hour, OLD.event_id)
            THEN
                RETURN NEW;
            END IF;
        ELSIF OLD.count = 0 OR EXISTS (
            SELECT 1 FROM workspaces_lockevent AS met
            JOIN workspaces_lockevent AS counted USING (workspace, repository, tag)
            WHERE met.id = OLD.event_id AND counted.kind = 'repeats.counted'
                AND counted.at > met.at - interval '1 day'
                AND counted.details ->> 'event' = met.ref
                AND counted.details ->> 'count' = OLD.count::text
        ) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the counters of the lock log only grow: % on % is refused',
            TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
)

SQLITE = (
    f"CREATE TRIGGER {COUNTERS}_no_update BEFORE UPDATE ON {COUNTERS} "
    "WHEN NOT (NEW.count >= OLD.count AND NEW.id = OLD.id AND NEW.workspace = OLD.workspace "
    "AND NEW.fingerprint = OLD.fingerprint AND NEW.hour = OLD.hour "
    "AND NEW.event_id = OLD.event_id) BEGIN SELECT "
    f"RAISE(ABORT, 'the counters of the lock log only grow: UPDATE on {COUNTERS} is refused'); END",
    f"CREATE TRIGGER {COUNTERS}_no_delete BEFORE DELETE ON {COUNTERS} "
    "WHEN OLD.count <> 0 AND NOT EXISTS ("
    "SELECT 1 FROM workspaces_lockevent AS met "
    "JOIN workspaces_lockevent AS counted USING (workspace, repository, tag) "
    "WHERE met.id = OLD.event_id AND counted.kind = 'repeats.counted' "
    "AND counted.at > datetime(met.at, '-1 day') "
    "AND json_extract(counted.details, '$.event') = met.ref "
    "AND json_extract(counted.details, '$.count') = OLD.count) BEGIN SELECT "
    f"RAISE(ABORT, 'the counters of the lock log only grow: DELETE on {COUNTERS} is refused'); END",
)


def install(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement in POSTGRESQL:
            schema_editor.execute(statement, params=None)
        for table in (*TABLES, COUNTERS):
            function = "taglock_counters_grow" if table == COUNTERS else "taglock_append_only"
            schema_editor.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {function}()"
            )
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION taglock_append_only()"
            )
            for name in ("append_only", "no_truncate"):
                schema_editor.execute(
                    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{name}"
                )
        return
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, 'the lock log is append-only: {verb} on {table} is refused'); "
                "END"
            )
    for statement in SQLITE:
        schema_editor.execute(statement, params=None)


def remove(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for table in (*TABLES, COUNTERS):
        names = ("append_only", "no_truncate") if is_postgresql else ("no_update", "no_delete")
        for name in names:
            on = f" ON {table}" if is_postgresql else ""
            schema_editor.execute(f"DROP TRIGGER {table}_{name}{on}")
    if is_postgresql:
        schema_editor.execute("DROP FUNCTION taglock_append_only()")
        schema_editor.execute("DROP FUNCTION taglock_counters_grow()")


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='PasswordLinkRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('email', models.CharField(max_length=254)),
                ('address', models.CharField(blank=True, max_length=64)),
                ('user_agent', models.CharField(blank=True, max_length=512)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='SealProgress',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('settled_id', models.PositiveBigIntegerField(default=0)),
                ('swept_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('first_name', models.CharField(blank=True, max_length=150, verbose_name='first name')),
                ('last_name', models.CharField(blank=True, max_length=150, verbose_name='last name')),
                ('email', models.EmailField(blank=True, max_length=254, verbose_name='email address')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('username', models.CharField(max_length=64, unique=True, validators=[django.core.validators.RegexValidator('\\A[a-z0-9][a-z0-9._@-]*\\Z', 'A user name begins with a lower-case letter or a digit, followed by lower-case letters, digits, dots, underscores, hyphens and @.')])),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'verbose_name': 'user',
                'verbose_name_plural': 'users',
                'abstract': False,
            },
            managers=[
                ('objects', django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name='CallCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subject', models.CharField(max_length=64)),
                ('window', models.DateTimeField()),
                ('count', models.PositiveIntegerField(default=0)),
            ],
            options={
                'indexes': [models.Index(fields=['window'], name='call_count_window')],
                'constraints': [models.UniqueConstraint(fields=('subject', 'window'), name='call_count_once')],
            },
        ),
        migrations.CreateModel(
            name='Checkpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('workspace', models.CharField(max_length=63)),
                ('sequence', models.PositiveBigIntegerField()),
                ('hash', models.CharField(max_length=64)),
                ('note', models.TextField()),
                ('made_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'indexes': [models.Index(fields=['workspace', 'id'], name='checkpoint_by_workspace')],
            },
        ),
        migrations.CreateModel(
            name='LockEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('ref', models.CharField(max_length=12)),
                ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('workspace', models.CharField(max_length=63)),
                ('kind', models.CharField(choices=[('tag.locked', 'Tag locked'), ('tag.adopted', 'Tag adopted'), ('tag.deleted', 'Tag deleted'), ('push.refused', 'Push refused'), ('push.identical', 'Identical push'), ('delete.refused', 'Delete refused'), ('lock.ended', 'Lock ended'), ('lock.released', 'Lock released'), ('lock.freed', 'Name freed'), ('claim.dropped', 'Claim dropped'), ('drift.found', 'Drift found'), ('repeats.counted', 'Repeats counted'), ('settings.changed', 'Settings changed'), ('workspace.created', 'Workspace created'), ('member.added', 'Member added'), ('member.changed', 'Member changed'), ('member.removed', 'Member removed'), ('invitation.made', 'Invitation made'), ('invitation.withdrawn', 'Invitation withdrawn'), ('password.changed', 'Password changed'), ('password.link_made', 'Password link made'), ('email.changed', 'E-mail address changed'), ('token.created', 'Access token created'), ('token.revoked', 'Access token revoked'), ('repository.published', 'Repository made public'), ('repository.closed', 'Repository made private')], max_length=32)),
                ('repository', models.CharField(blank=True, max_length=255)),
                ('tag', models.CharField(blank=True, max_length=128)),
                ('digest', models.CharField(blank=True, max_length=256)),
                ('other_digest', models.CharField(blank=True, max_length=256)),
                ('actor', models.CharField(max_length=255)),
                ('actor_kind', models.CharField(choices=[('person', 'person'), ('token', 'token'), ('registry', 'registry'), ('system', 'system')], max_length=16)),
                ('rule_name', models.CharField(blank=True, max_length=64)),
                ('rule_pattern', models.CharField(blank=True, max_length=100)),
                ('settings_version', models.PositiveIntegerField(null=True)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('details', models.JSONField(null=True)),
                ('origin_hash', models.CharField(blank=True, max_length=64)),
            ],
            options={
                'indexes': [models.Index(fields=['workspace', 'at', 'id'], name='event_by_time'), models.Index(fields=['workspace', 'repository', 'at', 'id'], name='event_by_repository'), models.Index(fields=['workspace', 'repository', 'tag', 'at', 'id'], name='event_by_tag'), models.Index(condition=models.Q(('tag', ''), _negated=True), fields=['workspace', 'tag', 'at', 'id'], name='event_by_tag_name'), models.Index(fields=['workspace', 'kind', 'at', 'id'], name='event_by_kind'), models.Index(fields=['workspace', 'actor', 'at', 'id'], name='event_by_actor'), models.Index(condition=models.Q(('rule_name', ''), _negated=True), fields=['workspace', 'rule_name', 'at', 'id'], name='event_by_rule'), models.Index(condition=models.Q(('digest', ''), _negated=True), fields=['workspace', 'digest'], name='event_by_digest', opclasses=['varchar_pattern_ops', 'varchar_pattern_ops']), models.Index(condition=models.Q(('other_digest', ''), _negated=True), fields=['workspace', 'other_digest'], name='event_by_other_digest', opclasses=['varchar_pattern_ops', 'varchar_pattern_ops'])],
                'constraints': [models.UniqueConstraint(fields=('workspace', 'ref'), name='event_ref_once')],
            },
        ),
        migrations.CreateModel(
            name='EventOrigin',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('salt', models.CharField(max_length=32)),
                ('address', models.CharField(blank=True, max_length=64)),
                ('user_agent', models.CharField(blank=True, max_length=512)),
                ('event', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='origin', to='workspaces.lockevent')),
            ],
        ),
        migrations.CreateModel(
            name='LogExport',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('workspace', models.CharField(max_length=63)),
                ('actor', models.CharField(max_length=255)),
                ('total', models.PositiveBigIntegerField()),
                ('done', models.PositiveBigIntegerField(default=0)),
                ('state', models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('stopped', 'Stopped')], default='running', max_length=16)),
                ('started_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('moved_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'indexes': [models.Index(fields=['started_at'], name='export_by_age')],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('admin', 'Admin'), ('member', 'Member'), ('auditor', 'Auditor')], max_length=16)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='Workspace',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.CharField(max_length=63, unique=True, validators=[workspaces.models.validate_slug])),
                ('name', models.CharField(max_length=100, validators=[workspaces.models.validate_plain_text])),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('members', models.ManyToManyField(related_name='workspaces', through='workspaces.Membership', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.AddField(
            model_name='membership',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='workspaces.workspace'),
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('admin', 'Admin'), ('member', 'Member'), ('auditor', 'Auditor')], max_length=16)),
                ('invitee', models.CharField(max_length=254, validators=[workspaces.models.validate_plain_text])),
                ('secret_hash', models.CharField(max_length=64, unique=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('expires_at', models.DateTimeField()),
                ('invited_by', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to=settings.AUTH_USER_MODEL)),
                ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='invitations', to='workspaces.workspace')),
            ],
        ),
        migrations.CreateModel(
            name='AccessToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, validators=[workspaces.models.validate_plain_text])),
                ('token_hash', models.CharField(max_length=64, unique=True)),
                ('scopes', models.JSONField()),
                ('created_by', models.CharField(blank=True, max_length=255)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('workspace', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='access_tokens', to='workspaces.workspace')),
            ],
        ),
        migrations.CreateModel(
            name='EventSeal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('workspace', models.CharField(max_length=63)),
                ('sequence', models.PositiveBigIntegerField()),
                ('hash', models.CharField(max_length=64)),
                ('sealed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('event', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='seal', to='workspaces.lockevent')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('workspace', 'sequence'), name='seal_once')],
            },
        ),
        migrations.CreateModel(
            name='EventRepeat',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('workspace', models.CharField(max_length=63)),
                ('fingerprint', models.CharField(max_length=64)),
                ('hour', models.DateTimeField()),
                ('count', models.PositiveBigIntegerField(default=0)),
                ('event', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='repeats', to='workspaces.lockevent')),
            ],
            options={
                'indexes': [models.Index(fields=['hour'], name='event_repeat_hour')],
                'constraints': [models.UniqueConstraint(fields=('workspace', 'fingerprint', 'hour'), name='event_repeat_once')],
            },
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.UniqueConstraint(fields=('workspace', 'user'), name='membership_once'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['admin', 'member', 'auditor'])), name='membership_role'),
        ),
        migrations.AddConstraint(
            model_name='invitation',
            constraint=models.CheckConstraint(condition=models.Q(('role__in', ['admin', 'member', 'auditor'])), name='invitation_role'),
        ),
        migrations.AddConstraint(
            model_name='accesstoken',
            constraint=models.UniqueConstraint(models.F('workspace'), django.db.models.functions.text.Lower('name'), condition=models.Q(('revoked_at', None)), name='access_token_name_once', violation_error_message='There is an access token of this name already.'),
        ),
        migrations.AddConstraint(
            model_name='accesstoken',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('name'), condition=models.Q(('revoked_at', None), ('workspace', None)), name='site_token_name_once', violation_error_message='There is an access token of this name already.'),
        ),
        migrations.RunPython(install, remove),
    ]
