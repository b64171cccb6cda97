"""What a WSGI server loads.

``gunicorn -c python:timer_http.gunicorn_settings timer_http.wsgi:app``

Importing it reads the settings and opens no connection.
"""

from __future__ import annotations

from timer_http.app import create_app

app = create_app()
