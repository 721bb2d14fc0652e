"""POST /ai/vision, and pictures made ready for the model.

conversations imports `pictures`.
"""
