"""The size limits of pages and pictures, for the parsers and their callers."""

MAX_PDF_PAGES = 300
MAX_TITLE_LENGTH = 300
MAX_TEXT_CHARACTERS = 5 * 1024 * 1024  # as many as the bytes of the largest page

MAX_PICTURE_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_SIDE = 65_500  # the longest side of a JPEG
MODEL_SIDE = 1568
THUMBNAIL_SIDE = 256
