"""POST /ai/summarize: texts, pages and conversations.

conversations registers how its transcripts are read.
"""
