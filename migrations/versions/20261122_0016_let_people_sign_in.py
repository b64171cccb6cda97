"""Let people sign in: who they are, which businesses they belong to, and where they signed in.

Expand. Locks: none, the tables are new. A program from before this one knows keys only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")
_ROLES = "role IN ('viewer', 'agent', 'manager', 'admin')"


def _instant(name: str, *, default_now: bool = False) -> sa.Column[object]:
    default = _NOW if default_now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=default)


def _reference(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        _instant("created_at", default_now=True),
        _instant("password_changed_at", default_now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("email", name=op.f("uq_people_email")),
    )
    op.create_table(
        "members",
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        _instant("created_at", default_now=True),
        sa.PrimaryKeyConstraint("business_id", "person_id", name=op.f("pk_members")),
        _reference("members", "business_id", "businesses"),
        _reference("members", "person_id", "people"),
        sa.CheckConstraint(_ROLES, name=op.f("ck_members_role_known")),
    )
    op.create_index(op.f("ix_members_person_id"), "members", ["person_id"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _instant("created_at", default_now=True),
        _instant("ends_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("business_id", "email", name=op.f("uq_invitations_business_id_email")),
        sa.UniqueConstraint("digest", name=op.f("uq_invitations_digest")),
        _reference("invitations", "business_id", "businesses"),
        sa.CheckConstraint(_ROLES, name=op.f("ck_invitations_role_known")),
    )
    op.create_table(
        "password_resets",
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _instant("ends_at"),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_password_resets")),
        sa.UniqueConstraint("digest", name=op.f("uq_password_resets_digest")),
        _reference("password_resets", "person_id", "people"),
    )
    op.create_table(
        "sign_ins",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("person_id", sa.Uuid, nullable=False),
        _instant("created_at", default_now=True),
        _instant("seen_at", default_now=True),
        _instant("ends_at"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sign_ins")),
        _reference("sign_ins", "person_id", "people"),
    )
    op.create_index(op.f("ix_sign_ins_person_id"), "sign_ins", ["person_id"])
    op.create_index(op.f("ix_sign_ins_ends_at"), "sign_ins", ["ends_at"])
    op.create_table(
        "sign_in_tries",
        sa.Column("subject", sa.LargeBinary, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        _instant("ends_at"),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sign_in_tries")),
    )
    op.create_index(op.f("ix_sign_in_tries_ends_at"), "sign_in_tries", ["ends_at"])


def downgrade() -> None:
    for table in (
        "sign_in_tries", "sign_ins", "password_resets", "invitations", "members", "people",
    ):  # fmt: skip
        op.drop_table(table)
