"""Google's Gemini: the only package that imports google-genai.

It has no access to the ledger or to HTTP requests; its one error is ModelError.
"""
