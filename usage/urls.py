from django.urls import path

from usage.views import OrganizationUsageView, UsageDailyView, UsageMeView

urlpatterns = [
    path("usage/me", UsageMeView.as_view()),
    path("usage/me/daily", UsageDailyView.as_view()),
    path("usage/organizations/<str:organization_id>", OrganizationUsageView.as_view()),
]
