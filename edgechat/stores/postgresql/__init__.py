"""Django's PostgreSQL backend with bounded waits, for processes that serve; only `edgechat.settings` names it."""
