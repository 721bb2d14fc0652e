from django.urls import path

from accounts import user_views, views
from accounts.api_keys import views as api_key_views
from accounts.lifecycle import data_export_views
from accounts.login import session_views
from accounts.older_clients import cookie_views
from accounts.older_clients import views as older_views
from accounts.organizations import views as organization_views
from accounts.recovery import views as recovery_views

_ORGANIZATION = "organizations/<str:organization_id>"

urlpatterns = [
    path("auth/register", views.RegisterView.as_view()),
    path("auth/login", views.LoginView.as_view()),
    path("auth/refresh", views.RefreshView.as_view()),
    path("auth/password/forgot", recovery_views.PasswordForgotView.as_view()),
    path("auth/password/reset", recovery_views.PasswordResetView.as_view()),
    path("auth/email/verify", recovery_views.EmailVerifyView.as_view()),
    path("auth/email/resend", recovery_views.EmailResendView.as_view()),
    path("auth/me", views.MeView.as_view()),
    path("auth/logout", session_views.LogoutView.as_view()),
    path("auth/logout-all", session_views.LogoutAllView.as_view()),
    path("auth/sessions", session_views.SessionsView.as_view()),
    path("auth/sessions/<session_id>", session_views.SessionView.as_view()),
    path("auth/api-keys", api_key_views.ApiKeysView.as_view()),
    path("auth/api-keys/<key_id>", api_key_views.ApiKeyView.as_view()),
    path("auth/signup", older_views.SignupView.as_view()),
    path("auth/signin", older_views.SigninView.as_view()),
    path("users/register", older_views.UserRegisterView.as_view()),
    path("users/login", cookie_views.CookieLoginView.as_view()),
    path("users/refresh", cookie_views.CookieRefreshView.as_view()),
    path("users/logout", cookie_views.CookieLogoutView.as_view()),
    path("users/me", views.UserMeView.as_view()),
    path("users/me/export", data_export_views.UserExportView.as_view()),
    path("users", user_views.UsersView.as_view()),
    path("users/<user_id>", user_views.UserView.as_view()),
    path("organizations", organization_views.OrganizationsView.as_view()),
    # Before the paths with an id: "invitations" is not an organization's id.
    path("organizations/invitations", organization_views.OwnInvitationsView.as_view()),
    path("organizations/invitations/<str:invitation_id>", organization_views.OwnInvitationView.as_view()),
    path("organizations/invitations/<str:invitation_id>/accept", organization_views.AcceptInvitationView.as_view()),
    path(_ORGANIZATION, organization_views.OrganizationView.as_view()),
    path(f"{_ORGANIZATION}/members", organization_views.MembersView.as_view()),
    path(f"{_ORGANIZATION}/members/<str:user_id>", organization_views.MemberView.as_view()),
    path(f"{_ORGANIZATION}/invitations/<str:invitation_id>", organization_views.InvitationView.as_view()),
]
