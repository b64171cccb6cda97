"""What a WSGI server loads; `timer_service.processes` says how ours is started.

Importing it reads the settings and opens no connection.
"""

from __future__ import annotations

from timer_http.app import create_app

app = create_app()
