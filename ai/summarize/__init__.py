"""POST /ai/summarize: summaries of texts, pages and conversations.

conversations registers the function that reads its transcripts.
"""
