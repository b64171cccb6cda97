"""What a WSGI server loads; `timer_service.processes` says how ours is started.

Importing it reads the settings, looks at the installation, and starts the thread that keeps the
host's spool: whoever mounts the application in a server of their own has to start
`WebServices.spool_keeper` the same way.
"""

from __future__ import annotations

from threading import Event, Thread

from timer_http.app import create_app
from timer_http.context import services_of
from timer_http.start_gate import open_when_installed

app = create_app()
open_when_installed(app)
# It may be killed at any point, so nobody waits for it.
Thread(
    target=services_of(app).spool_keeper.run, args=(Event(),), name="spool-keeper", daemon=True
).start()
