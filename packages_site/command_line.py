"""The command line of manage.py: a command runs on a database that is there and migrated.

Otherwise it ends with one line that says what to do. Opening a database makes none (settings.py),
so a command with the wrong settings changes nothing.
"""

import sys

import django
from django.core.management import ManagementUtility, get_commands
from django.db import Error as AnyDatabaseError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

from packages_site.data_dir import (
    describe_missing_secret_key,
    find_sqlite_file,
    make_command_line,
    read_fingerprint,
)
from packages_site.restoring import describe_cut_off_restore
from workspaces.secret_key import describe_other_secret_key

# Fills a database that is empty.
RESTORE = "restore"
# These use no database, or make one of their own.
WITHOUT_DATABASE = frozenset(
    {
        "check",
        "collectstatic",
        "compilemessages",
        "diffsettings",
        "findstatic",
        "makemessages",
        "makemigrations",
        "optimizemigration",
        "sendtestemail",
        "spectacular",
        "squashmigrations",
        "startapp",
        "startproject",
        "test",
        "testserver",
    }
)
# These tell something about a database that is not migrated, or migrate it.
WITHOUT_MIGRATIONS = frozenset({"dbshell", "migrate", RESTORE, "showmigrations", "sqlmigrate"})
# What makes this node's key the one of every node.
WITH_ANY_SECRET_KEY = frozenset({"change_secret_key"})
_HELP = {"-h", "--help", "--version"}
_MIGRATE_ONLY_SAYS = {"--check", "--plan"}


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return its status."""
    django.setup()
    try:
        if problem := find_problem(arguments):
            print(f"taglock: {problem}", file=sys.stderr)
            return 1
        ManagementUtility(arguments).execute()
    except OperationalError as error:
        print(f"taglock: the database cannot be used: {_to_line(error)}", file=sys.stderr)
        return 1
    return 0


def find_problem(arguments: list[str]) -> str:
    """Return why a command cannot run on this database, and what to do; nothing if it can."""
    command, options = arguments[1] if len(arguments) > 1 else "help", set(arguments[2:])
    if options & _HELP or command in WITHOUT_DATABASE or command not in get_commands():
        return ""
    path = find_sqlite_file()
    if path is not None and not path.exists():
        if command == RESTORE or (command == "migrate" and not options & _MIGRATE_ONLY_SAYS):
            return ""
        return (
            f"there is no database {path}. Set DATA_DIR, or DATABASE_URL, as the site has it; or "
            f"make a new database: {make_command_line('migrate')}"
        )
    driver = connection.Database  # type: ignore[attr-defined]
    try:
        # Past the pool, which would try for seconds and not say why it cannot connect.
        driver.connect(**connection.get_connection_params()).close()
        if command in WITHOUT_MIGRATIONS:
            return ""
        if problem := describe_cut_off_restore():
            return problem
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (AnyDatabaseError, driver.Error) as error:
        return f"the database cannot be used: {_to_line(error)}. Is DATABASE_URL the site's?"
    if missing:
        count = f"{len(missing)} migration{'' if len(missing) == 1 else 's'}"
        return f"the database lacks {count}. Run: {make_command_line('migrate')}"
    return describe_missing_secret_key() or _describe_other_secret_key(command)


def _describe_other_secret_key(command: str) -> str:
    if command in WITH_ANY_SECRET_KEY:
        return ""
    return describe_other_secret_key(read_fingerprint())


def _to_line(error: Exception) -> str:
    return " ".join(str(error).split())
