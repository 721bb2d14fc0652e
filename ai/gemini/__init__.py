"""Google's Gemini: the only importer of google-genai.

It knows neither the ledger nor HTTP requests; its one error is ModelError.
"""
