"""Every metric, with its labels and its help text. docs/metrics.md is made from these declarations.

Each process counts for itself; a scrape adds the processes of one gunicorn up. No label holds an id, an address or a
path: each has a small, fixed set of values, or is bounded by `edgechat.metrics.labels`.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from edgechat.metrics.growing_files import repair_growth

repair_growth()

# --- Requests ---------------------------------------------------------------------------------------------------------

# The boundaries that OpenTelemetry recommends for http.server.request.duration.
_HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)

http_requests = Counter(
    "edgechat_http_requests",
    "Answered requests by method, route template (unmatched: none; static: a static file) and status.",
    ("method", "route", "status"),
)
http_request_seconds = Histogram(
    "edgechat_http_request_duration_seconds",
    "From the arrival of a request to its answer, without long calls, which have metrics of their own.",
    ("method", "route"),
    buckets=_HTTP_SECONDS,
)
http_long_seconds = Histogram(
    "edgechat_http_long_request_duration_seconds",
    "From the arrival of a long call to its end: sends, event streams, calls to the model, exports, pictures.",
    ("method", "route", "streamed"),
    buckets=_LONG_SECONDS,
)
http_first_event_seconds = Histogram(
    "edgechat_http_first_event_seconds",
    "From the arrival of a request for an event stream to its first event; pings do not count.",
    ("method", "route"),
    buckets=_LONG_SECONDS,
)
http_streams = Gauge("edgechat_http_streams_open", "Event streams that are open.", multiprocess_mode="livesum")

# --- Limits -----------------------------------------------------------------------------------------------------------

rate_limited = Counter(
    "edgechat_rate_limited",
    "Requests and connections refused with 429: by address, address_strict (AUTH_RATE_LIMIT), connections, "
    "simultaneous_requests, held_bytes, login_lock, replies or streams of one user.",
    ("limit",),
)
rate_limit_open = Counter(
    "edgechat_rate_limit_unchecked", "Requests that passed a rate limit unchecked, because Redis did not answer."
)
requests_shed = Counter(
    "edgechat_requests_shed",
    "Work refused with 503 under load: no_turn (the admission queue was too slow), held_bytes (too many bodies), "
    "no_memory, no_files, no_disk (the system gave the process none).",
    ("reason",),
)
admission_working = Gauge(
    "edgechat_admission_working", "Requests and replies that have a turn to work.", multiprocess_mode="livesum"
)
admission_waiting = Gauge(
    "edgechat_admission_waiting", "Requests and replies that wait for a turn to work.", multiprocess_mode="livesum"
)
admission_wait_seconds = Histogram(
    "edgechat_admission_wait_seconds",
    "How long those waited that did not get a turn immediately, including those that were refused.",
    buckets=_HTTP_SECONDS,
)

# --- Replies ----------------------------------------------------------------------------------------------------------

replies_running = Gauge("edgechat_replies_running", "Replies that are being written.", multiprocess_mode="livesum")
reply_seconds = Histogram(
    "edgechat_reply_duration_seconds",
    "From the start of a reply to its stored end, by its final status; its count is the number of ended replies.",
    ("status",),
    buckets=_LONG_SECONDS,
)
reply_first_text_seconds = Histogram(
    "edgechat_reply_first_text_seconds", "From the start of a reply to its first text.", buckets=_LONG_SECONDS
)
reply_take_overs = Counter(
    "edgechat_reply_take_overs",
    "Replies of ended processes that were taken over, by what became of them: restarted, interrupted, stopped, or "
    "released (it had already ended).",
    ("outcome",),
)
replayed_sends = Counter(
    "edgechat_replayed_sends", "Repeated sends with an idempotency key that were answered with the earlier exchange."
)
upkeep_waiting = Gauge(
    "edgechat_upkeep_waiting", "Replies whose title or summary waits to be made.", multiprocess_mode="livesum"
)
upkeep_skipped = Counter(
    "edgechat_upkeep_skipped", "Titles and summaries that were left out, by reason: busy, store, or call.", ("reason",)
)

# --- Calls to the model, by OpenTelemetry's conventions for generative AI ---------------------------------------------

_GEN_AI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_GEN_AI_LABELS = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "server_address",
    "server_port",
)

gen_ai_duration = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "gen_ai.client.operation.duration: the duration of a call to the model; error_type is empty without an error.",
    (*_GEN_AI_LABELS, "error_type"),
    buckets=_GEN_AI_SECONDS,
)
gen_ai_first_chunk = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "gen_ai.client.operation.time_to_first_chunk: from the start of a call to the first chunk of its answer.",
    _GEN_AI_LABELS,
    buckets=_GEN_AI_SECONDS,
)
gen_ai_output_chunk = Histogram(
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "gen_ai.client.operation.time_per_output_chunk: from each chunk of an answer to the next.",
    _GEN_AI_LABELS,
    buckets=_GEN_AI_SECONDS,
)
model_breaker_open = Gauge(
    "edgechat_model_breaker_open",
    "Processes that do not call the model at the moment, because it failed many times in a row.",
    multiprocess_mode="livesum",
)
model_breaker_refusals = Counter(
    "edgechat_model_breaker_refusals", "Calls that were refused at once while the breaker of the model was open."
)
model_tokens = Counter(
    "edgechat_model_tokens",
    "Tokens of settled calls, as in the ledger; output includes thinking, input includes cached.",
    ("purpose", "model", "type"),
)
model_cost = Counter(
    "edgechat_model_cost", "Cost of settled calls, as in the ledger.", ("purpose", "model", "currency")
)
model_unpriced = Counter(
    "edgechat_model_unpriced_calls", "Settled calls of models without a price, which are not in the cost.", ("model",)
)
budget_refusals = Counter(
    "edgechat_budget_refusals", "Calls refused because a budget had too little left, by budget.", ("budget",)
)

# --- Stores -----------------------------------------------------------------------------------------------------------

pool_in_use = Gauge(
    "edgechat_pool_in_use", "Connections in use of the pools to the stores.", ("store",), multiprocess_mode="livesum"
)
pool_idle = Gauge(
    "edgechat_pool_idle", "Open connections that are not in use.", ("store",), multiprocess_mode="livesum"
)
pool_waiting = Gauge(
    "edgechat_pool_waiting", "Threads that wait for a connection.", ("store",), multiprocess_mode="livesum"
)
pool_limit = Gauge(
    "edgechat_pool_limit", "The most connections that the pools may have.", ("store",), multiprocess_mode="livesum"
)
store_down = Gauge(
    "edgechat_store_down",
    "Processes that make no attempt to reach the store at the moment, because it did not answer.",
    ("store",),
    multiprocess_mode="livesum",
)
store_failures = Counter(
    "edgechat_store_failures", "How often a store did not answer a process in time, or refused it.", ("store",)
)

# --- Backlogs ---------------------------------------------------------------------------------------------------------

counting_held = Gauge(
    "edgechat_counting_held",
    "Answered requests that a process holds until Redis or PostgreSQL takes their records.",
    multiprocess_mode="livesum",
)
counting_backlog = Gauge(
    "edgechat_counting_backlog_seconds",
    "Age of the oldest answered request in the Redis stream that is not counted in PostgreSQL; 0 if all are counted.",
    multiprocess_mode="livemostrecent",
)
counting_entries = Gauge(
    "edgechat_counting_stream_entries",
    "Answered requests in the Redis stream, with those that were counted in the last seconds.",
    multiprocess_mode="livemostrecent",
)
settlements_deferred = Gauge(
    "edgechat_settlements_deferred",
    "Ended calls to the model whose settlement waits for PostgreSQL.",
    multiprocess_mode="livesum",
)
calls_open = Gauge(
    "edgechat_ledger_calls_open", "Ledger entries that are not settled yet.", multiprocess_mode="livemostrecent"
)
deletions_pending = Gauge(
    "edgechat_deletions_pending",
    "Deletions that are not complete: accounts, and conversations (counted up to 1,000).",
    ("kind",),
    multiprocess_mode="livemostrecent",
)

# --- Processes and their background tasks -----------------------------------------------------------------------------

processes = Gauge("edgechat_processes", "Web processes that run.", multiprocess_mode="livesum")
build_info = Gauge("edgechat_build_info", "1; the label has the version.", ("version",), multiprocess_mode="livemax")
task_age = Gauge(
    "edgechat_background_task_age_seconds",
    "Age of the last complete round of a background task, in the process where it is oldest.",
    ("task",),
    multiprocess_mode="livemin",  # processes store the time of the round, and `edgechat.metrics.page` makes ages of it
)
task_interval = Gauge(
    "edgechat_background_task_interval_seconds",
    "The time between two rounds of a background task; 0: it goes on at once, and waits itself.",
    ("task",),
    multiprocess_mode="livemax",
)
tasks_running = Gauge(
    "edgechat_background_task_running",
    "Processes in which a background task makes its rounds; it should be all of them.",
    ("task",),
    multiprocess_mode="livesum",
)
task_rounds = Counter(
    "edgechat_background_task_rounds",
    "Rounds of a background task by result: ok, deferred (a store did not answer), failed.",
    ("task", "result"),
)
task_restarts = Counter(
    "edgechat_background_task_restarts",
    "How often a background task was started again after it ended or hung.",
    ("task",),
)

spans = Counter(
    "edgechat_spans",
    "Spans by what became of them: ended, sent, failed (the collector did not take them). Those that ended and are "
    "neither wait for the collector, or were dropped because too many waited.",
    ("state",),
)
traces_paused = Gauge(
    "edgechat_traces_paused",
    "Processes that make no spans at the moment, because the collector did not take the last ones.",
    multiprocess_mode="livesum",
)

# What holds times of the monotonic clock, which all processes of a machine share, and is answered as ages.
AGES = frozenset({"edgechat_background_task_age_seconds"})

# A rate needs a first value: what has happened once would otherwise look as if it had not.
for _limit in (
    "address",
    "address_strict",
    "connections",
    "simultaneous_requests",
    "held_bytes",
    "login_lock",
    "replies",
    "streams",
):
    rate_limited.labels(_limit)
for _reason in ("no_turn", "held_bytes", "no_memory", "no_files", "no_disk"):
    requests_shed.labels(_reason)
for _status in ("complete", "stopped", "interrupted", "failed", "blocked"):
    reply_seconds.labels(_status)
for _outcome in ("restarted", "interrupted", "stopped", "released"):
    reply_take_overs.labels(_outcome)
for _reason in ("busy", "store", "call"):
    upkeep_skipped.labels(_reason)
for _budget in ("user_month", "user_day", "organization_month", "organization_day"):
    budget_refusals.labels(_budget)
