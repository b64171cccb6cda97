"""Settings: read once, wrong ones refused with the key, what was expected and what to do."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from timer_service.errors import ConfigurationError
from timer_service.messages import SummarizerChoice
from timer_service.settings import Settings, load_settings

SECRETS = {
    "TIMER_DATABASE_URL": "postgresql://u:hunter2@h/db",
    "TIMER_REDIS_URL": "redis://:hunter2@h/0",
    "TIMER_QUEUE_REDIS_URL": "redis://:hunter2@h/1",
    "TIMER_ADMIN_KEY": "hunter2",
    "OPENAI_API_KEY": "hunter2",
}


def test_without_any_the_defaults_of_the_interface_hold() -> None:
    settings = load_settings()
    assert (settings.idle_gap_s, settings.shards) == (900, 1)
    assert settings.summarizer is SummarizerChoice.AUTO
    assert settings.database_url is None


def test_they_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMER_IDLE_GAP_S", "60")
    monkeypatch.setenv("TIMER_SUMMARIZER", "extractive")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    settings = load_settings()
    assert (settings.idle_gap_s, settings.summarizer) == (60, "extractive")
    assert settings.openai_base_url == "http://127.0.0.1:1/v1"


def test_what_is_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMER_IDLE_GAP_S", "60")
    assert load_settings(idle_gap_s=30).idle_gap_s == 30


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("TIMER_IDLE_GAP", "TIMER_IDLE_GAP_S"),
        ("TIMER_DATABSE_URL", "TIMER_DATABASE_URL"),
        ("TIMER_REDIS", "TIMER_REDIS_URL"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, suggested: str
) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=f"{name} is not.*{suggested}"):
        load_settings()


def test_one_like_nothing_is_refused_without_a_suggestion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIMER_QQQQ", "x")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "Did you mean" not in str(caught.value)


def test_a_given_name_that_is_no_setting_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match=r"databse_url.*database_url"):
        load_settings(databse_url="postgresql://h/db")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIMER_IDLE_GAP_S", "0"),
        ("TIMER_IDLE_GAP_S", "2592001"),
        ("TIMER_IDLE_GAP_S", "15m"),
        ("TIMER_SHARDS", "0"),
        ("TIMER_SHARDS", "16385"),
        ("TIMER_SWEEP_PERIOD_S", "0"),
        ("TIMER_SUMMARIZER", "gpt"),
        ("TIMER_ENCRYPTION_KEYS", "hunter2"),
        ("TIMER_ENCRYPTION_KEYS", f"{'A' * 43}=,hunter2"),
    ],
)
def test_a_wrong_value_names_its_key_and_not_a_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_secrets_do_not_show_in_a_printed_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(encryption_keys=Fernet.generate_key().decode())
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.require_database_url() == SECRETS["TIMER_DATABASE_URL"]
    assert settings.require_redis_url() == SECRETS["TIMER_REDIS_URL"]


@pytest.mark.parametrize(
    ("require", "name"),
    [
        (Settings.require_database_url, "TIMER_DATABASE_URL"),
        (Settings.require_redis_url, "TIMER_REDIS_URL"),
        (Settings.encryption_key_list, "TIMER_ENCRYPTION_KEYS"),
    ],
)
def test_what_is_needed_and_missing_says_what_to_set(require: object, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is not set: expected"):
        require(load_settings())  # type: ignore[operator]


def test_encryption_keys_are_read_newest_first() -> None:
    keys = [Fernet.generate_key().decode() for _ in range(3)]
    settings = load_settings(encryption_keys=f" {keys[0]} ,{keys[1]},,{keys[2]}")
    assert settings.encryption_key_list() == keys


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().idle_gap_s = 1  # type: ignore[misc]
