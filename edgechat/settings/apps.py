"""The applications, and the way of a request through them."""

INSTALLED_APPS = [
    # Unfold's templates must come before Django's; the admin site is the project's own (accounts.staff.site).
    "unfold.apps.BasicAppConfig",
    "edgechat.admin_app.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "edgechat.apps.EdgechatConfig",
    "accounts.apps.AccountsConfig",
    "ai.apps.AiConfig",
    "usage.apps.UsageConfig",
    "conversations.apps.ConversationsConfig",
]

MIDDLEWARE = [
    "edgechat.http.request_id.RequestIDMiddleware",
    # First, because their headers belong on the answers of the other middleware too.
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "edgechat.http.security_headers.SecurityHeadersMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "edgechat.http.static_files.StaticFilesMiddleware",
    "edgechat.http.trailing_slash.TrailingSlashMiddleware",
    "edgechat.http.rate_limit.RateLimitMiddleware",
    "edgechat.http.options.OptionsMiddleware",
    "usage.requests.middleware.CountRequestsMiddleware",
    "edgechat.http.admission.AdmissionMiddleware",
    "edgechat.http.admin_middleware.AdminSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "edgechat.http.admin_middleware.AdminBodyMiddleware",
    "edgechat.http.admin_middleware.AdminCsrfMiddleware",
    "accounts.staff.sessions.AdminAuthenticationMiddleware",
    "edgechat.http.admin_middleware.AdminMessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "edgechat.urls"
WSGI_APPLICATION = "edgechat.wsgi.application"
APPEND_SLASH = False  # edgechat.http.trailing_slash makes the slash optional without a redirect.
