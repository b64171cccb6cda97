"""The HTTP skin over `timer_service`: webhooks, the JSON API, the console and the job pages."""

from __future__ import annotations

from timer_http.app import create_app

__all__ = ["create_app"]
