"""POST /ai/vision, and the preparation of pictures for the model.

conversations imports `pictures`.
"""
