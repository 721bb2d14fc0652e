"""How large pages and pictures may be, for those who read them and those who have them read."""

MAX_PDF_PAGES = 300
MAX_TITLE_LENGTH = 300
MAX_TEXT_CHARACTERS = 5 * 1024 * 1024  # as many as the largest page has bytes

MAX_PICTURE_BYTES = 10 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_SIDE = 65_500  # as long as a JPEG's side can be
MODEL_SIDE = 1568
THUMBNAIL_SIDE = 256
