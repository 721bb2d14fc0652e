from django.urls import path

from ai import views

urlpatterns = [
    path("ai/complete", views.CompleteView.as_view()),
    path("ai/models", views.ModelsView.as_view()),
]
