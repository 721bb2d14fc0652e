"""Looks at everything that EdgeChat needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from edgechat.management import mail_check, model_checks, process_checks, settings_checks, store_checks
from edgechat.management.diagnosis import Check, Finding, State, diagnose

STORE_SECONDS = 8.0
# They wait for nothing, but load all of the application.
SETTINGS_SECONDS = 60.0
CHECK_WIDTH, STATE_WIDTH = 26, 9


class Command(BaseCommand):
    help = (
        "Check every store, the model, the settings, e-mail, the web processes, their backlogs, the clocks and the "
        "disk; print what was found and what to do. Exit code 1 if there is a fault. Changes nothing."
    )
    requires_system_checks = ()  # the command runs them and reports their findings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-model", action="store_true", help="do not make the one short call, which is paid")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        checks = [
            Check("Settings", settings_checks.check_settings, SETTINGS_SECONDS, "run `manage.py check`"),
            Check("PostgreSQL", store_checks.check_postgres, STORE_SECONDS, _start_or_set("DATABASE_URL")),
            Check("MongoDB", store_checks.check_mongo, STORE_SECONDS, _start_or_set("MONGODB_URL")),
            Check("Redis", store_checks.check_redis, STORE_SECONDS, _start_or_set("REDIS_URL")),
            Check("Model", model_checks.check_model_list, model_checks.LIST_SECONDS, "look at the network"),
        ]
        if not options["no_model"] and (settings.GEMINI_API_KEY or settings.GEMINI_BASE_URL):
            call, seconds = model_checks.check_model_call, model_checks.CALL_SECONDS
            checks.append(Check("Model call", call, seconds, "look at the network"))
        checks += [
            Check("E-mail", mail_check.check_mail, STORE_SECONDS, "look at EMAIL_URL, and at the server"),
            _of_stores("Background tasks", process_checks.check_processes),
            _of_stores("Backlogs", process_checks.check_backlogs),
            _of_stores("Clock", process_checks.check_clocks),
            Check("Disk", store_checks.check_disk, STORE_SECONDS, "choose another DATA_DIR"),
        ]
        as_json = options["json"]
        if not as_json:
            self.stdout.write(f"{'Check':<{CHECK_WIDTH}}{'State':<{STATE_WIDTH}}Found, and what to do")
        counts = dict.fromkeys(State, 0)
        findings = []
        for finding in diagnose(checks):
            counts[finding.state] += 1
            findings.append(asdict(finding))
            if not as_json:
                self._write(finding)
        if as_json:
            worst = next((state for state in (State.FAULT, State.WARNING) if counts[state]), State.OK)
            numbers = {"faults": counts[State.FAULT], "warnings": counts[State.WARNING]}
            self.stdout.write(json.dumps({"state": worst, **numbers, "findings": findings}, ensure_ascii=False))
        if counts[State.FAULT]:
            raise CommandError(f"Faults: {counts[State.FAULT]}, warnings: {counts[State.WARNING]}.")
        if not as_json:
            self.stdout.write(f"No fault, warnings: {counts[State.WARNING]}.")

    def _write(self, finding: Finding) -> None:
        styles = {State.OK: self.style.SUCCESS, State.WARNING: self.style.WARNING, State.FAULT: self.style.ERROR}
        state = styles[finding.state](f"{finding.state:<{STATE_WIDTH}}")
        self.stdout.write(f"{finding.check:<{CHECK_WIDTH}}{state}{finding.text}")
        self.stdout.flush()


def _of_stores(name: str, run: Callable[[], Iterable[Finding]]) -> Check:
    return Check(name, run, STORE_SECONDS, "see the checks of the stores", unknown=State.WARNING)


def _start_or_set(variable: str) -> str:
    if settings.DEVELOPMENT:
        return f"start EdgeChat with `make run`, or set {variable}"
    return f"look at {variable}, and at the server"
