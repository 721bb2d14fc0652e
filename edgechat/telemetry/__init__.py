"""What other programs are told about this process: spans (OpenTelemetry) and exceptions (Sentry).

Neither is imported without its setting. Any app may call `spans`; `edgechat.logs` calls `exceptions`.
"""
