"""Formats of times in the admin. Django looks them up by language, whatever the value of USE_I18N."""
