"""``/docs``: the OpenAPI document to read and try, with the assets of an installed package.

Nothing is fetched from elsewhere, and the page may run its own script only.
"""

from __future__ import annotations

from pathlib import Path

import flask_openapi_swagger  # type: ignore[import-untyped]
from flask import Blueprint, Response

from timer_http.security_headers import inline_hash

SPEC_URL = "/api/openapi.json"

_ASSETS = Path(flask_openapi_swagger.__file__).parent / "templates" / "swagger"
_SCRIPT = f"""
window.ui = SwaggerUIBundle({{
  url: "{SPEC_URL}", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
}});
"""
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Timer service API</title>
<link rel="icon" href="/docs/assets/images/swagger.svg">
<link rel="stylesheet" href="/docs/assets/css/swagger-ui.css">
<div id="swagger-ui"></div>
<noscript>The document itself: <a href="{SPEC_URL}">{SPEC_URL}</a></noscript>
<script src="/docs/assets/js/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</html>
"""
# Swagger UI styles its elements one by one and draws its icons from data URLs.
_POLICY = (
    f"default-src 'none'; script-src 'self' {inline_hash(_SCRIPT)}; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

blueprint = Blueprint(
    "docs_page", __name__, static_folder=str(_ASSETS), static_url_path="/docs/assets"
)


@blueprint.get("/docs", strict_slashes=False)
def docs() -> Response:
    """Show the API's documentation."""
    return Response(_PAGE, mimetype="text/html", headers={"Content-Security-Policy": _POLICY})
