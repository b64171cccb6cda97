"""All contacts of a business as CSV that a spreadsheet opens, written while it is sent.

Used by the API and the console. Cells a spreadsheet would take for a formula begin with ``'``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from flask import Response
from werkzeug.datastructures import Headers

from timer_service.resources import Contact, format_instant

COLUMNS = (
    "id", "name", "number", "conversations", "open_tasks", "first_seen", "last_conversation",
    "last_ended", "provider", "summary_title", "summary", "follow_up", "attributes",
)  # fmt: skip
_BYTE_ORDER_MARK = "\ufeff"  # without it Excel reads UTF-8 as something else
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_response(contacts: Iterable[Contact], header: Sequence[str] = COLUMNS) -> Response:
    """Answer contacts as a file, one line each."""
    headers = Headers()
    headers.set("Content-Disposition", "attachment", filename="contacts.csv")
    headers.set("Cache-Control", "no-store")
    return Response(_lines(contacts, header), mimetype="text/csv", headers=headers)


def harmless(value: str) -> str:
    """Keep a spreadsheet from reading a cell as a formula."""
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _lines(contacts: Iterable[Contact], header: Sequence[str]) -> Iterator[str]:
    yield _BYTE_ORDER_MARK + _line(header)
    for one in contacts:
        yield _line(_cells(one))


def _cells(one: Contact) -> list[str]:
    last = one.last_session
    cells = [
        str(one.id), one.name or "", one.customer_wa_id, str(one.session_count),
        str(one.open_task_count), format_instant(one.created_at),
    ]  # fmt: skip
    if last is None:
        cells += [""] * 6
    else:
        cells += [
            format_instant(last.started_at),
            format_instant(last.closed_at) if last.closed_at else "",
            last.provider,
            last.summary_title or "",
            last.summary_text or "",
            last.follow_up or "",
        ]
    cells.append(json.dumps(one.attributes, ensure_ascii=False) if one.attributes else "")
    return cells


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow([harmless(cell) for cell in cells])
    return line.getvalue()
