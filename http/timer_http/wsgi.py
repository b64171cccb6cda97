"""What a WSGI server loads; `timer_service.processes` says how ours is started.

Importing it reads the settings, looks at the installation, and starts the threads that keep the
host's spool and its folder of files: whoever mounts the application in a server of their own has to
start `WebServices.spool_keeper` and `media_keeper` the same way.
"""

from __future__ import annotations

from threading import Event, Thread

from timer_http.app import create_app
from timer_http.context import services_of
from timer_http.start_gate import open_when_installed

app = create_app()
open_when_installed(app)
# They may be killed at any point, so nobody waits for them.
for name, keeper in (
    ("spool-keeper", services_of(app).spool_keeper),
    ("media-keeper", services_of(app).media_keeper),
):
    Thread(target=keeper.run, args=(Event(),), name=name, daemon=True).start()
