"""The console: the pages a shop owner reads, rendered here and made live by a little htmx.

`timer_http.create_app` registers ``blueprint`` and calls ``init_app``. Everything shown comes from
`WebServices`; nothing here talks to Redis, Postgres or a gateway.
"""

from __future__ import annotations

from timer_http.console import (  # noqa: F401 - importing them hangs their views on the blueprint
    account_pages,
    business_pages,
    contact_pages,
    conversation_pages,
    developer_pages,
    error_pages,
    linking_pages,
    media_pages,
    note_pages,
    overview_pages,
    session_pages,
    settings_pages,
    sign_in_pages,
    user_pages,
)
from timer_http.console.pages import blueprint
from timer_http.console.setup import init_app

__all__ = ["blueprint", "init_app"]
