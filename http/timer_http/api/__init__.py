"""The JSON API, one blueprint for each noun.

A Flask application of somebody else's can mount it::

    from timer_http.api import blueprints
    from timer_http.context import attach_services

    attach_services(app, timer_service.wiring.build_web(load_settings()))
    for blueprint in (*blueprints, timer_http.webhooks.blueprint):
        app.register_blueprint(blueprint)

The blueprints check keys, bound and read bodies and answer problems by themselves. On a host that
is a flask-openapi application, ``validation_error_callback=answer_validation_error`` (from
`timer_http.problems`) keeps what callers sent out of error answers.
"""

from __future__ import annotations

from timer_http.api import (
    active_chats,
    api_keys,
    businesses,
    connections,
    contacts,
    media,
    messages,
    notes,
    older_sessions,
    sessions,
    tasks,
)
from timer_http.api.blueprint import document_business_id

blueprints = (
    businesses.blueprint,
    connections.blueprint,
    api_keys.blueprint,
    messages.blueprint,
    media.blueprint,
    active_chats.blueprint,
    sessions.blueprint,
    contacts.blueprint,
    notes.blueprint,
    tasks.blueprint,
    older_sessions.blueprint,
)

for _blueprint in blueprints:
    if _blueprint is not businesses.blueprint:
        document_business_id(_blueprint)
