"""PostgreSQL, MongoDB and Redis."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import dj_database_url
import gevent.monkey
from marshmallow.validate import Range, Regexp

from edgechat.settings.deployment import DEVELOPMENT, env

# A request's limit for its wait for a turn to work and its waits for stores together. A call that needs a dead store
# takes 5 s.
#: The time that a request may wait for its turn to work and for PostgreSQL and MongoDB, together. After it: 503. Each
#: command of Redis may take a ninth of it, and half a second at least.
STORE_TIMEOUT_SECONDS = env.float("STORE_TIMEOUT_SECONDS", 4.5, validate=Range(min=1, max=60)) or 4.5
#: Connections to PostgreSQL of each web process.
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", 10, validate=Range(min=1, max=200))
#: `true` behind a pooler such as PgBouncer: nothing is prepared, and no options of a session are asked for.
DATABASE_POOLER = env.bool("DATABASE_POOLER", False)


def _postgres_url() -> str:
    """DATABASE_URL, or a URL built from the older backends' POSTGRES_* variables, or an empty text."""
    #: PostgreSQL; `postgresql+asyncpg://` is read as `postgresql://`. Embedded in development.
    url: str = env.str("DATABASE_URL", "")
    #: With the next four variables, in place of `DATABASE_URL`, as the older backends had it.
    host = env.str("POSTGRES_HOST", "")
    #: See `POSTGRES_HOST`.
    port = env.str("POSTGRES_PORT", "5432")
    #: See `POSTGRES_HOST`.
    user = env.str("POSTGRES_USER", "postgres")
    #: See `POSTGRES_HOST`.
    password = env.str("POSTGRES_PASSWORD", "")
    #: See `POSTGRES_HOST`.
    database = env.str("POSTGRES_DB", "edgechat")
    if not url and host:
        login = quote(user, safe="")
        if password:
            login += ":" + quote(password, safe="")
        url = f"postgresql://{login}@{host}:{port}/{database}"
    # SQLAlchemy's driver suffix and asyncpg's name of the TLS option, as in the older backend's deployments.
    url = re.sub(r"^postgres(ql)?\+[a-z0-9]+://", "postgresql://", url)
    return re.sub(r"([?&])ssl=", r"\1sslmode=", url)


def _store_url(name: str, value: str, schemes: tuple[str, ...], nowhere: str) -> str:
    """The URL of a store. In development the default is an address without a server, for commands without stores."""
    if not value:
        if not DEVELOPMENT:
            env.fault(name, "required in production")
        return nowhere
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        env.fault(name, f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
        return nowhere
    return value


DATABASE_URL = _store_url(
    "DATABASE_URL", _postgres_url(), ("postgresql", "postgres"), "postgresql://nobody@127.0.0.1:9/edgechat"
)
#: MongoDB. Embedded in development.
_mongodb_url = env.str("MONGODB_URL", "")
MONGODB_URL = _store_url("MONGODB_URL", _mongodb_url, ("mongodb", "mongodb+srv"), "mongodb://127.0.0.1:9")
#: The name of the database in MongoDB.
MONGODB_DB = env.str("MONGODB_DB", "edgechat", validate=Regexp(r"[A-Za-z0-9_-]{1,63}\Z"))
#: Redis. Embedded in development.
_redis_url = env.str("REDIS_URL", "")
REDIS_URL = _store_url("REDIS_URL", _redis_url, ("redis", "rediss", "unix"), "redis://127.0.0.1:9/0")

try:
    _database: dict[str, Any] = dict(dj_database_url.parse(DATABASE_URL))
except ValueError:
    env.fault("DATABASE_URL", "is not a database URL")
    _database = {"ENGINE": "django.db.backends.postgresql", "NAME": "edgechat"}
# Both belong to a connection, and with a pooler the next transaction may have another one.
_database["DISABLE_SERVER_SIDE_CURSORS"] = DATABASE_POOLER
_database["CONN_MAX_AGE"] = 0  # Django refuses persistent connections together with a pool.
_database["OPTIONS"] = {**_database.get("OPTIONS", {}), "connect_timeout": 3}
if not DATABASE_POOLER:  # which accepts no options of a session
    # PostgreSQL ends the session of a machine that was cut off after 25 s. The default is two hours, for which the rows
    # that a transaction had changed would stay locked.
    _keepalives = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    if gevent.monkey.is_module_patched("socket"):
        # The same with an answer on its way. Not for commands: a backup may pause for longer while it reads.
        _keepalives += " -c tcp_user_timeout=25000"
    _database["OPTIONS"]["options"] = f"{_keepalives} {_database['OPTIONS'].get('options', '')}".strip()
if gevent.monkey.is_module_patched("socket"):
    # Only web processes benefit from a pool. A command has one connection, and needs its errors immediately.
    from edgechat.stores.postgresql.base import BoundedConnection

    _database["ENGINE"] = "edgechat.stores.postgresql"
    _database["OPTIONS"] |= {"connect_timeout": 2, "tcp_user_timeout": 5000}
    if not DATABASE_POOLER:  # without it `edgechat.stores.postgresql.prepared` prepares nothing
        _database["OPTIONS"]["prepare_threshold"] = 5
    _database["OPTIONS"]["pool"] = {
        "connection_class": BoundedConnection,
        "min_size": 0,
        "max_size": DATABASE_POOL_SIZE,
        "timeout": STORE_TIMEOUT_SECONDS * 2 / 3,
        "max_idle": 60,
        "reconnect_timeout": 0,  # the next caller tries again
    }
DATABASES = {"default": _database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# In proportion to the time for the other stores, so that a slow machine needs one setting.
REDIS_CONNECT_SECONDS = max(0.25, STORE_TIMEOUT_SECONDS / 18)
_redis_options = {
    "SOCKET_CONNECT_TIMEOUT": REDIS_CONNECT_SECONDS,
    "SOCKET_TIMEOUT": max(0.5, STORE_TIMEOUT_SECONDS / 9),
    "CONNECTION_POOL_CLASS": "edgechat.stores.redis.ConnectionPool",
    "REDIS_CLIENT_CLASS": "edgechat.stores.redis.Client",
    "CONNECTION_FACTORY": "edgechat.stores.redis.GuardedConnectionFactory",
    "CONNECTION_POOL_KWARGS": {"max_connections": 16, "timeout": 5},
    # The default reads pickles, which can run code: a program that can write to Redis would control the server.
    "SERIALIZER": "edgechat.stores.redis.CacheSerializer",
}
CACHES = {
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL, "OPTIONS": _redis_options},
}
