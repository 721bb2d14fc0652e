from django.urls import path

from usage.views import UsageMeView

urlpatterns = [path("usage/me", UsageMeView.as_view())]
