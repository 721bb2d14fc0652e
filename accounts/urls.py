from django.urls import path

from accounts import data_export_views, recovery_views, views

urlpatterns = [
    path("auth/register", views.RegisterView.as_view()),
    path("auth/login", views.LoginView.as_view()),
    path("auth/refresh", views.RefreshView.as_view()),
    path("auth/password/forgot", recovery_views.PasswordForgotView.as_view()),
    path("auth/password/reset", recovery_views.PasswordResetView.as_view()),
    path("auth/email/verify", recovery_views.EmailVerifyView.as_view()),
    path("auth/email/resend", recovery_views.EmailResendView.as_view()),
    path("auth/me", views.MeView.as_view()),
    path("users/me", views.UserMeView.as_view()),
    path("users/me/export", data_export_views.UserExportView.as_view()),
]
