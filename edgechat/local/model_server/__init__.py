"""A server on this machine that speaks Gemini's REST, over a small real model or a script.

Run it with `python -m edgechat.local.model_server --port 0 --ready-file PATH [--scripted]`. None of it needs Django.
"""
