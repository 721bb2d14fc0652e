"""What one client, and one user, may have and send."""

from __future__ import annotations

import re

from marshmallow.validate import Range

from edgechat.settings.deployment import env

#: Requests from one address in a window, over all paths except health and static files.
RATE_LIMIT_REQUESTS = env.int("RATE_LIMIT_REQUESTS", 100, validate=Range(min=1))
#: The length of that window.
RATE_LIMIT_WINDOW_SECONDS = env.int("RATE_LIMIT_WINDOW_SECONDS", 60, validate=Range(min=1, max=86400))
#: Registrations, logins, refreshes, uploads and invitations, each counted separately, from one address.
AUTH_RATE_LIMIT = env.str("AUTH_RATE_LIMIT", "30/m")
if not re.fullmatch(r"[1-9]\d*/([1-9]\d*)?[smhd]", AUTH_RATE_LIMIT or "", re.ASCII):
    env.fault("AUTH_RATE_LIMIT", "must look like 30/m (a count, a slash, and s, m, h or d)")
#: The duration of every refused login, so that its time does not reveal whether an account exists; longer than five
#: checks of the slowest imported hash.
FAILED_LOGIN_SECONDS = env.float("FAILED_LOGIN_SECONDS", 1.5, validate=Range(min=0, max=10))
#: When another session starts, the oldest one beyond this number ends; up to 1000.
MAX_SESSIONS_PER_USER = env.int("MAX_SESSIONS_PER_USER", 100, validate=Range(min=1, max=1000))
#: The number of proxies whose `X-Forwarded-For` and `-Proto` are trusted.
TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", 0, validate=Range(min=0, max=10))
#: The most bytes of any body except uploads.
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 8 * 1024 * 1024, validate=Range(min=1024))
#: The most bytes of a JSON body; `/api/v1/ai/summarize` accepts 4 MiB.
MAX_JSON_BYTES = env.int("MAX_JSON_BYTES", 256 * 1024, validate=Range(min=1024))
#: The most bytes of all bodies that one process holds at the same time, in memory or in files. One address may have
#: half of it.
MAX_HELD_BYTES = env.int("MAX_HELD_BYTES", 256 * 1024 * 1024, validate=Range(min=1024))
#: Simultaneous connections in each process; with trusted proxies: simultaneous requests.
MAX_CONNECTIONS_PER_ADDRESS = env.int("MAX_CONNECTIONS_PER_ADDRESS", 200, validate=Range(min=1))
#: How long 64 KiB of an answer may wait to be read before the connection is closed.
SLOW_READER_SECONDS = env.int("SLOW_READER_SECONDS", 30, validate=Range(min=1, max=3600))
#: Simultaneous replies and one-off calls to the model of one user, over all processes; beyond them: 429
#: `too_many_replies`.
MAX_REPLIES_PER_USER = env.int("MAX_REPLIES_PER_USER", 10, validate=Range(min=1))
#: Simultaneous event streams of one user, likewise.
MAX_STREAMS_PER_USER = env.int("MAX_STREAMS_PER_USER", 20, validate=Range(min=1))
#: Pictures that one user may keep.
MAX_ATTACHMENTS = env.int("MAX_ATTACHMENTS", 2000, validate=Range(min=1))
#: MB (1,048,576 bytes) that one user's pictures may have in total, by their `bytes`.
ATTACHMENT_QUOTA_MB = env.int("ATTACHMENT_QUOTA_MB", 500, validate=Range(min=1))
#: Conversations that one user may have, including archived ones.
MAX_CONVERSATIONS = env.int("MAX_CONVERSATIONS", 10_000, validate=Range(min=1))
#: MB (1,048,576 bytes) of a file with conversations to import, at most half of `MAX_HELD_BYTES`; `0`: files are
#: refused, and this process imports none.
IMPORT_MAX_MB = env.int("IMPORT_MAX_MB", 100, validate=Range(min=0, max=10_000))
#: MB (1,048,576 bytes) of text that one user may import within 30 days; each import counts as 10 MB at least. Imports
#: by `manage.py import_conversations` are not counted.
IMPORT_QUOTA_MB = env.int("IMPORT_QUOTA_MB", 1000, validate=Range(min=10))
#: Days for which records of single requests are kept; the sums are kept permanently.
USAGE_RAW_DAYS = env.int("USAGE_RAW_DAYS", 90, validate=Range(min=1))
#: The time of day (UTC, such as `03:30`) from which one web process deletes what is no longer needed; `off`: none does,
#: and the `prune_` commands are to be scheduled.
_prune_at = env.str("PRUNE_AT", "03:00")
if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]|off", _prune_at or "", re.ASCII):
    env.fault("PRUNE_AT", "must be a time such as 03:30, or off")
PRUNE_AT = None if _prune_at == "off" else _prune_at
