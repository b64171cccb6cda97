"""The floor under intake: its statements for one message of a known customer, sent by pgbench.

`touch` runs it. The statements and what they lock are intake's for a message that comes alone:
nothing is parsed, decided or armed, and pgbench is C. What Postgres itself can do with them is
what intake is measured by.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from timer_service.embedded.postgres_server import _wheel_install

_SCRIPT = r"""
\set customer random(0, :customers - 1)
\set tenant :customer % :tenants + 1
\set name random(1, 9000000000000000000)
BEGIN;
SELECT c.id AS connection_id, b.id AS business_id, b.idle_gap_s, b.touch_on, c.status = 'new' AS new
FROM connections c JOIN businesses b ON b.id = c.business_id
WHERE c.provider = 'meta' AND c.external_id = '1' || lpad(CAST(:tenant AS text), 14, '0')
  AND c.deleted_at IS NULL \gset
SELECT DISTINCT contact_id FROM contact_ids
WHERE business_id = :business_id AND (kind, value) IN (
  ('phone', '9725' || lpad(CAST(:customer AS text), 8, '0')),
  ('bsuid', 'IL.1' || lpad(CAST(:customer AS text), 19, '0'))) \gset
SELECT id, name, session_count, merged_into FROM contacts
WHERE id = ANY(ARRAY[CAST(:contact_id AS uuid)]) ORDER BY id FOR NO KEY UPDATE;
SELECT provider_message_id, session_id, clock_timestamp() AS now FROM messages
WHERE connection_id = :connection_id
  AND provider_message_id = ANY(ARRAY['floor' || CAST(:name AS text)]);
SELECT id AS session_id, started_at, last_touch_at, deadline_at, last_message_at,
  last_customer_message_at
FROM sessions
WHERE connection_id = :connection_id AND contact_id = ANY(ARRAY[CAST(:contact_id AS uuid)])
  AND state = 'open'
ORDER BY id FOR NO KEY UPDATE \gset
INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id, direction,
  author, type, text, sent_at, received_at, placed_at)
VALUES (
  CAST(lpad(to_hex(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS int8)), 12, '0')
    || '7' || substr(replace(CAST(gen_random_uuid() AS text), '-', ''), 14) AS uuid),
  :business_id, :connection_id, :session_id, 'floor' || CAST(:name AS text), 'in', 'customer',
  'text', 'Is order 123456 on its way?', now(), clock_timestamp(), clock_timestamp());
UPDATE sessions SET version = version + 1, started_at = started_at,
  last_message_at = clock_timestamp(), last_customer_message_at = clock_timestamp(),
  last_touch_at = clock_timestamp(),
  deadline_at = clock_timestamp() + make_interval(secs => CAST(:idle_gap_s AS int)),
  due_not_before = least(due_not_before, clock_timestamp()
    + make_interval(secs => CAST(:idle_gap_s AS int))),
  message_count = message_count + 1
WHERE id = :session_id
RETURNING id, business_id, version, deadline_at - clock_timestamp();
COMMIT;
"""


def find_pgbench() -> Path:
    """Return pgbench: the one on PATH, else that of the wheel `up` may take Postgres from.

    Raises:
        FileNotFoundError: there is neither.
    """
    on_path = shutil.which("pgbench")
    wheel = _wheel_install()
    for path in ([Path(on_path)] if on_path else []) + ([wheel / "bin/pgbench"] if wheel else []):
        if path.is_file():
            return path
    raise FileNotFoundError("pgbench is in Debian's package postgresql-client or -contrib")


def run_floor(
    database_url: str, *, clients: int, seconds: int, customers: int, tenants: int
) -> float:
    """Let so many clients touch random customers' sessions; return how many touches a second.

    Raises:
        RuntimeError: pgbench failed, or a transaction of its did.
    """
    variables = {"customers": customers, "tenants": tenants}
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(_SCRIPT)
        script.flush()
        said = _run(
            [
                str(find_pgbench()),
                *("-n", "-M", "prepared", "-f", script.name),
                *("-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds)),
                *(word for name, value in variables.items() for word in ("-D", f"{name}={value}")),
                database_url,
            ]
        )
    per_s = re.search(r"tps = ([\d.]+)", said)
    if per_s is None:
        raise RuntimeError(f"pgbench gave no figure:\n{said}")
    return float(per_s[1])


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode or "ERROR" in done.stderr:
        raise RuntimeError(f"pgbench ended with {done.returncode}:\n{done.stderr}")
    return done.stdout
