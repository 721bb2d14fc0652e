"""PostgreSQL, MongoDB and Redis: lazy clients, bounded waits, one error.

All apps import it. Only `edgechat.stores.redis` imports redis-py.
"""

from edgechat.stores import redis_library as redis_library
