"""The app's URLs."""

from django.urls import path
from django.views.decorators.cache import never_cache

from status import views

urlpatterns = [
    path("", never_cache(views.BoardView.as_view()), name="index"),
    path("check", never_cache(views.check_now), name="check_now"),
    path("events", views.events, name="events"),
    path("api/status", never_cache(views.api_status), name="api_status"),
    path("urls/<int:address_id>/remove", views.remove, name="remove"),
    path("demo/<slug:name>", views.demo_endpoint, name="demo"),
]
