"""`python -m conversations.tests.importing_process ID`: runs a waiting import, as a web process does."""

from __future__ import annotations

import os
import sys
import uuid

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "edgechat.settings")
django.setup()

from conversations.imports.files import open_file  # noqa: E402
from conversations.imports.run import lease_kept, run_import  # noqa: E402
from conversations.models import Import  # noqa: E402
from usage import processes  # noqa: E402

if __name__ == "__main__":
    with lease_kept(), open_file(uuid.UUID(sys.argv[1])) as file:
        chosen = Import.objects.filter(pk=sys.argv[1])
        chosen.update(status=Import.Status.RUNNING, worker=processes.this_process(), attempts=1, not_before=None)
        run_import(chosen.get(), file)
