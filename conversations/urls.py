from django.urls import path

from conversations import views

urlpatterns = [
    path("chat/conversations", views.ConversationsView.as_view()),
    path("chat/conversations/<str:conversation_id>", views.ConversationView.as_view()),
    path("chat/conversations/<str:conversation_id>/messages", views.MessagesView.as_view()),
    path("chat/conversations/<str:conversation_id>/messages/<str:mid>", views.MessageView.as_view()),
    path("chat/conversations/<str:conversation_id>/messages/<str:mid>/stop", views.StopView.as_view()),
    path("chat/conversations/<str:conversation_id>/messages/<str:mid>/regenerate", views.RegenerateView.as_view()),
    path("chat/conversations/<str:conversation_id>/messages/<str:mid>/stream", views.StreamView.as_view()),
]
