from django.urls import path

from ai import views
from ai.openai import views as openai_views
from ai.summarize import views as summary_views
from ai.vision import views as vision_views

urlpatterns = [
    path("ai/complete", views.CompleteView.as_view()),
    path("ai/complete/stream", views.CompleteStreamView.as_view()),
    path("ai/vision", vision_views.VisionView.as_view()),
    path("ai/vision/stream", vision_views.VisionStreamView.as_view()),
    path("ai/summarize", summary_views.SummarizeView.as_view()),
    path("ai/summarize/stream", summary_views.SummarizeStreamView.as_view()),
    path("ai/models", views.ModelsView.as_view()),
    path("openai/v1/chat/completions", openai_views.ChatCompletionsView.as_view()),
    path("openai/v1/models", openai_views.OpenAIModelsView.as_view()),
    path("openai/v1/models/<path:model_id>", openai_views.OpenAIModelView.as_view()),
]
