"""Stores that belong to one test: what uses only a part of them is refused before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest
from django.db import connection

from accounts.models import User
from accounts.tests.staff import make_user
from edgechat.local.web import WebServer
from edgechat.stores.mongo import database
from edgechat.stores.redis import redis_client
from edgechat.tests.own_stores import OwnStores, check_stores, using
from edgechat.tests.store_proxy import StoreProxy
from edgechat.tests.web_settings import WITHOUT_MONGODB, WITHOUT_POSTGRESQL, WITHOUT_REDIS


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL", "MONGODB_DB"])
def test_a_process_with_a_part_of_its_own_stores_does_not_start(
    own_stores: OwnStores, start_web: Callable[..., WebServer], missing: str
) -> None:
    part = {name: value for name, value in own_stores.env.items() if name != missing}
    with pytest.raises(AssertionError, match=r"start_web\(\*\*own_stores\.env\)"):
        start_web(**part)
    with pytest.raises(AssertionError, match=r"start_web\(\*\*own_stores\.env\)"):
        subprocess.run([sys.executable, "manage.py", "prune_usage"], env={**os.environ, **part}, check=False)


def test_a_proxy_and_an_address_where_nothing_listens_belong_to_all(own_stores: OwnStores) -> None:
    for away in (WITHOUT_POSTGRESQL, WITHOUT_REDIS, WITHOUT_MONGODB):
        check_stores({**os.environ, **away})
        check_stores({**os.environ, **own_stores.env, **away})
    check_stores({**os.environ, "DATABASE_URL": f"{os.environ['DATABASE_URL']}?application_name=test"})
    for name in ("DATABASE_URL", "REDIS_URL"):
        with closing(StoreProxy(os.environ[name])) as proxy:
            check_stores({**os.environ, name: proxy.url})
            with pytest.raises(AssertionError, match="take requests of other tests away"):
                check_stores({**os.environ, **own_stores.env, name: proxy.url})


def test_the_code_that_a_test_calls_uses_its_own_stores_too(own_stores: OwnStores) -> None:
    user = make_user()
    assert own_stores.rows("SELECT id FROM accounts_user") == [(user.pk,)]
    assert list(User.objects.all()) == [user]
    assert database().name == own_stores.name
    assert redis_client().keys() == []
    redis_client().set("mine", 1)
    shared = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
    with using(shared):
        assert redis_client().get("mine") is None
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() != (own_stores.name,)
    with (
        pytest.raises(AssertionError, match="take requests of other tests away"),
        using({**shared, **own_stores.env, "REDIS_URL": shared["REDIS_URL"]}),
    ):
        pass
