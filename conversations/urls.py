from django.urls import path

from conversations import views
from conversations.attachments import views as attachment_views
from conversations.imports import views as import_views
from conversations.messages import views as message_views
from conversations.todos import views as todo_views

_CONVERSATION = "chat/conversations/<str:conversation_id>"
_MESSAGE = f"{_CONVERSATION}/messages/<str:mid>"

urlpatterns = [
    path("chat/conversations", views.ConversationsView.as_view()),
    path(_CONVERSATION, views.ConversationView.as_view()),
    path(f"{_CONVERSATION}/export", views.ExportView.as_view()),
    path(f"{_CONVERSATION}/messages", message_views.MessagesView.as_view()),
    path(f"{_CONVERSATION}/messages/stream", message_views.SendStreamView.as_view()),
    path(_MESSAGE, message_views.MessageView.as_view()),
    path(f"{_MESSAGE}/stop", message_views.StopView.as_view()),
    path(f"{_MESSAGE}/regenerate", message_views.RegenerateView.as_view()),
    path(f"{_MESSAGE}/regenerate/stream", message_views.RegenerateStreamView.as_view()),
    path(f"{_MESSAGE}/stream", message_views.StreamView.as_view()),
    path(f"{_MESSAGE}/feedback", message_views.FeedbackView.as_view()),
    path(f"{_CONVERSATION}/action-items", todo_views.ActionItemsView.as_view()),
    path("chat/attachments", attachment_views.AttachmentsView.as_view()),
    path("chat/attachments/<str:attachment_id>", attachment_views.AttachmentView.as_view()),
    path("chat/imports", import_views.ImportsView.as_view()),
    path("chat/imports/<str:import_id>", import_views.ImportView.as_view()),
    path("chat/search", views.SearchView.as_view()),
    path("chat/changes", views.ChangesView.as_view()),
    path("todos", todo_views.TodosView.as_view()),
    path("todos/<str:todo_id>", todo_views.TodoView.as_view()),
]
