"""Times in the admin; where Django looks is by language, whatever USE_I18N says."""
