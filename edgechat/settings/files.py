"""Static files, uploads, and the storage of users' files."""

from __future__ import annotations

from edgechat.settings.deployment import BASE_DIR, DATA_DIR, DEVELOPMENT, env
from edgechat.settings.limits import MAX_JSON_BYTES

STATIC_URL = "/static/"
# A checkout has no collected files: WhiteNoise finds them in the packages.
STATIC_ROOT = None if DEVELOPMENT else BASE_DIR / "staticfiles"
# `manage.py build_openapi` writes the OpenAPI file here.
OPENAPI_FOLDER = (STATIC_ROOT or DATA_DIR) / "openapi"
WHITENOISE_USE_FINDERS = DEVELOPMENT
WHITENOISE_ROOT = BASE_DIR / "edgechat" / "root"  # /favicon.ico, which browsers request by themselves
# Views serve users' files and check who owns them; the files have no public addresses.
MEDIA_ROOT = DATA_DIR / "media"
FILE_UPLOAD_PERMISSIONS, FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o600, 0o700
#: Stores pictures in this bucket instead of `DATA_DIR`.
S3_BUCKET = env.str("S3_BUCKET", "")
_s3_options = {
    "bucket_name": S3_BUCKET,
    #: A store that speaks the S3 protocol; unset: Amazon's.
    "endpoint_url": env.str("S3_ENDPOINT_URL", "") or None,
    #: The bucket's region.
    "region_name": env.str("S3_REGION", "") or None,
    #: Unset: the credentials of the machine's role.
    "access_key": env.str("S3_ACCESS_KEY_ID", "") or None,
    #: The secret of `S3_ACCESS_KEY_ID`.
    "secret_key": env.str("S3_SECRET_ACCESS_KEY", "") or None,
    "default_acl": None,
    "querystring_auth": True,
}
# For backups, which may be in another bucket of the same store.
S3_CLIENT = {
    "endpoint_url": _s3_options["endpoint_url"],
    "region_name": _s3_options["region_name"],
    "aws_access_key_id": _s3_options["access_key"],
    "aws_secret_access_key": _s3_options["secret_key"],
}
STORAGES = {
    "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": _s3_options}
    if S3_BUCKET
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "edgechat.http.static_files.GzippedStaticFilesStorage"
    },
}

DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_JSON_BYTES  # for the fields besides the files
DATA_UPLOAD_MAX_NUMBER_FILES = 20
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "uploads"
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "edgechat.http.uploads.NamelessFileUploadHandler",
]
