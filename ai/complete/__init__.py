"""POST /ai/complete, plain and streamed.

Only the URLs import it.
"""
