"""OpenAI's protocol: /openai/v1/chat/completions and /openai/v1/models, upon the calls of `ai.calls`.

Only URLs import it.
"""
