"""A Redis server of the tests' own: started, killed, hung, and empty each time it starts."""

import shutil
from pathlib import Path

import redis

from packages_site.local import find_free_ports
from tests.conftest import skip_or_fail
from tests.services.parts import Part


class RedisServer(Part):
    """A server on a free loopback port, which keeps nothing on disk."""

    def __init__(self, folder: Path, options: str = "") -> None:
        """Skip the test, loudly, where there is no Redis. `options` go to its command line."""
        program = shutil.which("redis-server")
        if program is None:
            skip_or_fail("Debian's redis-server")
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = find_free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        super().__init__(
            f"exec {program} --bind 127.0.0.1 --port {self.port} --dir {folder} "
            f"--save '' --appendonly no --loglevel warning {options}",
            folder / "redis.out",
            is_ready=self.is_answering,
        )

    def is_answering(self) -> bool:
        """Whether it does its work."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def count_messages(self, queue: str = "taglock") -> int:
        """Return how many messages wait for a worker."""
        with self._client() as client:
            return int(client.llen(queue))

    def lose_everything(self) -> None:
        """Forget every message, and go on."""
        with self._client() as client:
            client.flushall()

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2, socket_connect_timeout=2)
