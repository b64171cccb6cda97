"""How a view reaches the services: they hang on the application, never on a module.

A host that mounts the blueprints itself puts its `WebServices` there the same way.
"""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app

from timer_service.wiring import WebServices

_NAME = "timer_service"


def attach_services(app: Flask, services: WebServices) -> None:
    """Hang the services on an application."""
    app.extensions[_NAME] = services


def current_services() -> WebServices:
    """Return the services of the application that answers this request."""
    return services_of(current_app)


def services_of(app: Flask) -> WebServices:
    """Return the services of an application."""
    return cast("WebServices", app.extensions[_NAME])
