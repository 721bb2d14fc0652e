"""Django's admin with the site of our own."""

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    default = False
    default_site = "accounts.staff.site.StaffSite"
