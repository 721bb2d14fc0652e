"""The applications, and the way of a request through them."""

INSTALLED_APPS = [
    # This project's templates come before Unfold's, and Unfold's before Django's.
    "edgechat.apps.EdgechatConfig",
    "unfold.apps.BasicAppConfig",
    "edgechat.admin_app.StaffAdminConfig",  # the admin site is the project's own (accounts.staff.site)
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "edgechat.playground",
    "accounts.apps.AccountsConfig",
    "ai.apps.AiConfig",
    "usage.apps.UsageConfig",
    "conversations.apps.ConversationsConfig",
]

MIDDLEWARE = ["edgechat.http.middleware.RequestMiddleware"]
# RequestMiddleware passes only the admin's requests through these.
ADMIN_MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "accounts.staff.sessions.AdminAuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
# RequestMiddleware calls them with each answer, and with each that a limit of an address has refused.
COUNT_ANSWERED = "usage.requests.answered.count_answered"
COUNT_REFUSED = "usage.requests.answered.count_refused"
SILENCED_SYSTEM_CHECKS = [
    *("admin.E408", "admin.E409", "admin.E410"),  # in ADMIN_MIDDLEWARE
    # edgechat.http.security_headers adds these headers.
    *("security.W001", "security.W002"),
    # TLS ends at the proxy, which also redirects http, and the application must not bind other hosts of a domain to
    # https. Only the admin has cookies that a forged request could use: CsrfViewMiddleware.
    *("security.W003", "security.W005", "security.W008", "security.W021"),
    "auth.E003",  # a constraint on email_key, which this check cannot see, makes the e-mail unique
    "auth.W004",
    "files.E001",  # FILE_UPLOAD_TEMP_DIR is created when it is first needed (edgechat.http.uploads)
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
APPEND_SLASH = False  # edgechat.http.middleware makes the slash optional without a redirect.
