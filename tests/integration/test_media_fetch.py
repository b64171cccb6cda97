"""How files are got from each gateway, and where no word of anybody's makes us go."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.sample_files import body_of
from tests.support.fake_media_gateway import (
    PICTURE,
    Certificate,
    Elsewhere,
    FakeFiles,
    File,
)
from timer_service import guarded_http, media_fetch
from timer_service.guarded_http import GuardedHttp
from timer_service.ids import new_id
from timer_service.media_fetch import MediaFetcher
from timer_service.media_files import MediaFiles, Shelf
from timer_service.media_trouble import MediaTrouble, Reason
from timer_service.messages import Media, ProviderName
from timer_service.providers import MEDIA_SOURCES
from timer_service.providers.fetching import WantedFile
from timer_service.providers.sending import Account

META, TWILIO, WAHA, BAILEYS = (
    ProviderName.META,
    ProviderName.TWILIO,
    ProviderName.WAHA,
    ProviderName.BAILEYS,
)
SECRETS = {
    "access_token": "meta-token",
    "auth_token": "twilio-token",
    "api_key": "gateway-key",
}
CDN, TWILIO_HOST = "mms.twiliocdn.example", "api.twilio.com"
LOOKASIDE, GRAPH = "lookaside.fbsbx.com", "graph.facebook.com"
MB = 1024**2
FAILED = Reason.GATEWAY_FAILED
HEX = hashlib.sha256(PICTURE).hexdigest()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("certificates")
    return Certificate(folder, CDN, TWILIO_HOST, LOOKASIDE, GRAPH, "evil.example")


@pytest.fixture
def host() -> Iterator[FakeFiles]:
    """The gateway a connection names, on a private network, over plain HTTP."""
    with FakeFiles() as host:
        yield host


@pytest.fixture
def other(certificate: Certificate) -> Iterator[FakeFiles]:
    """A public host, over HTTPS."""
    with FakeFiles(certificate) as other:
        yield other


class Desk:
    """Fetches by one gateway's rules, into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.files = MediaFiles(folder, quota_bytes=8 * MB, min_free_bytes=0)
        self.network = Elsewhere({})
        self.http = GuardedHttp(resolve=self.network.resolve, network=self.network)

    def join(self, certificate: Certificate, network: Elsewhere) -> None:
        """Have these names on the network, and believe that certificate."""
        self.network = network
        self.http = GuardedHttp(certificate.trusting, network.resolve, network)

    def fetch(
        self,
        provider: ProviderName,
        base_url: str = "",
        *,
        secrets: dict[str, str] | None = None,
        most_bytes: int = MB,
        **media: Any,
    ) -> bytes:
        account = Account(
            "AC1:+15550009999" if provider is TWILIO else "default",
            base_url,
            SECRETS if secrets is None else secrets,
        )
        wanted = WantedFile("AC2", Media(**media))
        file_id = new_id()
        draft = self.files.draft(Shelf.CACHE, file_id, most_bytes=most_bytes)
        assert draft is not None
        with draft:
            MediaFetcher(self.http).fetch(MEDIA_SOURCES[provider], wanted, account, draft)
            draft.publish()
        return self.files.path(Shelf.CACHE, file_id).read_bytes()

    def refuses(self, provider: ProviderName, base_url: str = "", **more: Any) -> Reason:
        """Fetch what cannot be had; return why. Nothing of it may be left."""
        with pytest.raises(MediaTrouble) as caught:
            self.fetch(provider, base_url, **more)
        assert list(self.files.kept(Shelf.CACHE)) == []
        assert self.files.clear_dead_drafts() == 0
        told = str(caught.value)
        assert not any(secret in told for secret in SECRETS.values())
        return caught.value.reason


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "media")


class TestWaha:
    NAME = "/api/files/default/AC2.jpg"

    def test_the_file_comes_from_the_host_the_connection_names(
        self, desk: Desk, host: FakeFiles
    ) -> None:
        host.has(self.NAME, File(PICTURE))
        assert desk.fetch(WAHA, host.url, url=f"http://localhost:3000{self.NAME}") == PICTURE
        assert host.requests[0].headers["x-api-key"] == "gateway-key"
        assert [port for _, port in desk.network.connected] == [host.port]

    def test_behind_a_path_of_its_own(self, desk: Desk, host: FakeFiles) -> None:
        host.has(f"/waha{self.NAME}", File(PICTURE))
        base_url = f"{host.url}/waha"
        assert desk.fetch(WAHA, base_url, url=f"{base_url}{self.NAME}") == PICTURE

    def test_a_server_without_a_key_is_told_none(self, desk: Desk, host: FakeFiles) -> None:
        host.has(self.NAME, File(PICTURE))
        url = f"http://localhost:3000{self.NAME}"
        assert desk.fetch(WAHA, host.url, secrets={}, url=url) == PICTURE
        assert "x-api-key" not in host.requests[0].headers

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/latest/meta-data/iam",
            "http://localhost:6379/",
            "file:///etc/passwd",
            "file:///api/files/../../etc/passwd",
            "http://localhost:3000/api/sessions?all=true",
            "http://localhost:3000/api/files/../sessions",
            "http://localhost:3000/api/files/%2e%2e/sessions",
            "http://localhost:3000/api/files/%252e%252e/sessions",
            "http://localhost:3000/api/files/..%5csessions",
            "http://localhost:3000/api/files/",
            "http://localhost:3000/api/files//evil.example/a",
            "http://localhost:3000/api/files/a\r\nX-Evil: 1",
            "http://[",
            "",
        ],
    )
    def test_nothing_but_a_file_of_that_host_is_ever_asked_for(
        self, desk: Desk, host: FakeFiles, url: str
    ) -> None:
        assert desk.refuses(WAHA, host.url, url=url) in {FAILED, Reason.GONE}
        assert host.asked == []
        assert desk.network.connected == []

    def test_a_redirect_is_not_followed(
        self, desk: Desk, host: FakeFiles, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({CDN: other}))
        for location in (f"https://{CDN}/a", "/api/files/other", "http://127.0.0.1:1/"):
            host.has(self.NAME, File(status=302, headers={"Location": location}))
            assert desk.refuses(WAHA, host.url, url=f"http://localhost{self.NAME}") is FAILED
        assert other.asked == []
        assert len(host.asked) == 3

    def test_without_an_address_nobody_is_asked(self, desk: Desk) -> None:
        url = f"http://localhost:3000{self.NAME}"
        assert desk.refuses(WAHA, url=url) is Reason.NOT_CONNECTED


class TestEvolution:
    PATH = "/chat/getBase64FromMediaMessage/default"

    def answer(self, body: bytes = PICTURE, **more: Any) -> File:
        document = {
            "mediaType": "imageMessage",
            "fileName": "a.jpg",
            "size": {"fileLength": {"low": 1, "high": 0, "unsigned": True}},
            "mimetype": "image/jpeg",
            "base64": base64.b64encode(body).decode(),
            "buffer": None,
            **more,
        }
        return File(json.dumps(document).encode(), status=201)

    def test_the_file_comes_as_base64_by_the_messages_id(self, desk: Desk, host: FakeFiles) -> None:
        host.has(self.PATH, self.answer())
        assert desk.fetch(BAILEYS, host.url) == PICTURE
        (asked,) = host.requests
        assert (asked.method, asked.headers["apikey"]) == ("POST", "gateway-key")
        assert json.loads(asked.body)["message"] == {"key": {"id": "AC2"}}

    def test_an_address_that_came_with_it_is_not_used(self, desk: Desk, host: FakeFiles) -> None:
        host.has(self.PATH, self.answer())
        assert desk.fetch(BAILEYS, host.url, url="http://169.254.169.254/a.jpg") == PICTURE
        assert {port for _, port in desk.network.connected} == {host.port}

    def test_it_is_cut_off_while_it_comes_in(self, desk: Desk, host: FakeFiles) -> None:
        host.has(self.PATH, self.answer(bytes(2 * MB)))
        assert desk.refuses(BAILEYS, host.url, most_bytes=100_000) is Reason.TOO_LARGE

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            (File(b'{"base64": "AAAA'), FAILED),
            (File(b'{"error": true}'), FAILED),
            (File(b"<html>"), FAILED),
            (File(b'{"status": 400, "response": {"message": ["Message not found"]}}', 400),
             Reason.GONE),
            (File(b"{}", 404), FAILED),
            (File(b"{}", 401), Reason.NOT_CONNECTED),
            (File(b'{"code": "LICENSE_REQUIRED"}', 503), Reason.GATEWAY_AWAY),
        ],
    )  # fmt: skip
    def test_what_it_says_instead_is_understood(
        self, desk: Desk, host: FakeFiles, file: File, reason: Reason
    ) -> None:
        host.has(self.PATH, file)
        assert desk.refuses(BAILEYS, host.url) is reason


class TestTwilio:
    URL = f"https://{TWILIO_HOST}/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"
    PATH = "/2010-04-01/Accounts/AC1/Messages/MM1/Media/ME1"

    def redirecting(self, location: str) -> File:
        return File(status=307, headers={"Location": location})

    def test_the_login_is_twilios_and_goes_to_nobody_it_sends_us_to(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({TWILIO_HOST: other, CDN: other}))
        other.has(self.PATH, self.redirecting(f"https://{CDN}/AC1/signed?x=1"))
        other.has("/AC1/signed", File(PICTURE))
        assert desk.fetch(TWILIO, url=self.URL) == PICTURE
        first, second = other.requests
        login = base64.b64decode(first.headers["authorization"].removeprefix("Basic "))
        assert (first.headers["host"], login) == (TWILIO_HOST, b"AC1:twilio-token")
        assert second.headers["host"] == CDN
        assert "authorization" not in second.headers
        assert "cookie" not in second.headers

    def test_a_cookie_of_the_first_host_is_not_carried_to_the_next(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({TWILIO_HOST: other, CDN: other}))
        redirect = self.redirecting(f"https://{CDN}/b")
        other.has(self.PATH, replace(redirect, headers={
            **redirect.headers, "Set-Cookie": "session=1; Domain=example"}))  # fmt: skip
        other.has("/b", File(PICTURE))
        assert desk.fetch(TWILIO, url=self.URL) == PICTURE
        assert "cookie" not in other.requests[1].headers

    @pytest.mark.parametrize(
        "location",
        [
            "http://mms.twiliocdn.example/a",
            "https://mms.twiliocdn.example:8443/a",
            "https://user:password@mms.twiliocdn.example/a",
            "https://127.0.0.1/a",
            "https://127.0.0.1:6379/a",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/a",
            "https://[::ffff:127.0.0.1]/a",
            "https://2130706433/a",
            "https://inside.example/a",
            "https://half.example/a",
            "https://nowhere.example/a",
            "file:///etc/passwd",
            "ftp://mms.twiliocdn.example/a",
            "//127.0.0.1/a",
            "https:\\\\127.0.0.1\\a",
            "https://[",
        ],
    )
    def test_where_it_redirects_to_must_be_public(
        self, desk: Desk, certificate: Certificate, other: FakeFiles, location: str
    ) -> None:
        moved = {
            "inside.example": ["10.0.0.7"],
            "half.example": ["93.184.215.14", "127.0.0.1"],
            "2130706433": ["127.0.0.1"],
            "169.254.169.254": ["169.254.169.254"],
            "::1": ["::1"],
            "::ffff:127.0.0.1": ["::ffff:127.0.0.1"],
        }
        network = Elsewhere({TWILIO_HOST: other, CDN: other}, moved)
        desk.join(certificate, network)
        other.has(self.PATH, self.redirecting(location))
        assert desk.refuses(TWILIO, url=self.URL) in {FAILED, Reason.GATEWAY_AWAY}
        assert len(network.connected) == 1
        assert len(other.asked) == 1

    def test_it_is_not_sent_from_one_to_the_next_for_ever(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({TWILIO_HOST: other, CDN: other}))
        for path in (self.PATH, "/a"):
            other.has(path, self.redirecting(f"https://{CDN}/a"))
        assert desk.refuses(TWILIO, url=self.URL) is FAILED
        assert len(other.asked) == media_fetch.MOST_REDIRECTS + 1

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/a",
            "https://api.twilio.com.evil.example/a",
            "https://eviltwilio.com/a",
            "http://api.twilio.com/a",
            "https://api.twilio.com@evil.example/a",
            "https://api.twilio.com:22/a",
            "https://evil.example\\@api.twilio.com/a",
            "https://evil.example#@api.twilio.com/a",
            "http://169.254.169.254/latest",
            "http://127.0.0.1:1/a",
            "file:///etc/passwd",
            "https://api.twilio.com\t.evil.example/",
        ],
    )
    def test_the_login_goes_to_twilio_only(
        self, desk: Desk, certificate: Certificate, other: FakeFiles, url: str
    ) -> None:
        network = Elsewhere({"evil.example": other, TWILIO_HOST: other})
        desk.join(certificate, network)
        assert desk.refuses(TWILIO, url=url) is FAILED
        assert network.connected == []

    def test_twilios_name_at_a_private_address_is_not_twilio(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        network = Elsewhere({TWILIO_HOST: other}, {TWILIO_HOST: ["10.1.1.1"]})
        desk.join(certificate, network)
        assert desk.refuses(TWILIO, url=self.URL) is FAILED
        assert network.connected == []

    def test_a_name_is_asked_for_once_so_that_it_cannot_move_in_between(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        network = Elsewhere({TWILIO_HOST: other})
        asked: list[str] = []

        def moving(name: str, port: int) -> list[str]:
            asked.append(name)
            return network.resolve(name, port) if len(asked) == 1 else ["127.0.0.1"]

        desk.http = GuardedHttp(certificate.trusting, moving, network)
        other.has(self.PATH, File(PICTURE))
        assert desk.fetch(TWILIO, url=self.URL) == PICTURE
        assert asked == [TWILIO_HOST]

    def test_a_certificate_nobody_vouches_for_is_nobody(self, desk: Desk, other: FakeFiles) -> None:
        network = Elsewhere({TWILIO_HOST: other})
        desk.http = GuardedHttp(resolve=network.resolve, network=network)
        assert desk.refuses(TWILIO, url=self.URL) is Reason.GATEWAY_AWAY
        assert other.asked == []


class TestMeta:
    def look_up(self, **changes: Any) -> File:
        document = body_of("meta/api_media_get_200.json") | {
            "sha256": HEX,
            "file_size": str(len(PICTURE)),
            **changes,
        }
        return File(json.dumps(document).encode())

    def test_the_id_leads_to_an_address_and_both_need_the_token(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({GRAPH: other, LOOKASIDE: other}))
        other.has("/v23.0/3000000000000001", self.look_up())
        other.has("/whatsapp_business/attachments/", File(PICTURE))
        assert desk.fetch(META, provider_media_id="3000000000000001") == PICTURE
        first, second = other.requests
        assert first.path == "/v23.0/3000000000000001?phone_number_id=default"
        assert {one.headers["authorization"] for one in (first, second)} == {"Bearer meta-token"}
        assert second.headers["host"] == LOOKASIDE

    @pytest.mark.parametrize(
        "changes",
        [
            {"url": "https://evil.example/a"},
            {"url": "http://lookaside.fbsbx.com/a"},
            {"url": "http://169.254.169.254/latest"},
            {"url": "http://localhost:6379/"},
            {"url": "file:///etc/passwd"},
            {"url": None},
            {"sha256": "0" * 64},
            {"file_size": 7},
        ],
    )
    def test_an_address_of_somebody_elses_or_another_file_is_refused(
        self, desk: Desk, certificate: Certificate, other: FakeFiles, changes: dict[str, Any]
    ) -> None:
        desk.join(certificate, Elsewhere(dict.fromkeys((GRAPH, LOOKASIDE, "evil.example"), other)))
        other.has("/v23.0/1", self.look_up(**changes))
        other.has("/whatsapp_business/attachments/", File(PICTURE))
        assert desk.refuses(META, provider_media_id="1") is FAILED
        assert "evil.example" not in {one.headers["host"] for one in other.requests}
        assert len(other.asked) == (1 if "url" in changes else 2)

    def test_a_redirect_is_not_followed(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({GRAPH: other, LOOKASIDE: other, CDN: other}))
        other.has("/v23.0/1", self.look_up())
        redirect = File(status=302, headers={"Location": f"https://{CDN}/a"})
        other.has("/whatsapp_business/attachments/", redirect)
        other.has("/a", File(PICTURE))
        assert desk.refuses(META, provider_media_id="1") is FAILED
        assert len(other.asked) == 2

    @pytest.mark.parametrize("media_id", [None, "", "../me", "1/2", "1?x=", "1\r\nX: 1"])
    def test_what_is_no_id_is_not_asked_for(self, desk: Desk, media_id: str | None) -> None:
        assert desk.refuses(META, provider_media_id=media_id) is Reason.GONE
        assert desk.network.connected == []

    def test_an_id_that_has_ended_is_gone(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({GRAPH: other}))
        other.has("/v23.0/1", File(b'{"error": {"code": 100, "error_subcode": 33}}', 400))
        assert desk.refuses(META, provider_media_id="1") is Reason.GONE

    def test_a_look_up_without_end_is_cut_off(
        self, desk: Desk, certificate: Certificate, other: FakeFiles
    ) -> None:
        desk.join(certificate, Elsewhere({GRAPH: other}))
        other.has("/v23.0/1", File(kind="endless"))
        assert desk.refuses(META, provider_media_id="1") is FAILED
        assert other.written_bytes < 16 * MB

    def test_without_a_token_nobody_is_asked(self, desk: Desk) -> None:
        reason = desk.refuses(META, secrets={}, provider_media_id="1")
        assert reason is Reason.NOT_CONNECTED


class TestWhatever:
    NAME = "/api/files/a.jpg"
    URL = f"http://localhost:3000{NAME}"

    @pytest.mark.parametrize(
        ("announced", "reason"),
        [
            ({"size_bytes": len(PICTURE)}, None),
            ({"sha256": HEX}, None),
            ({"sha256": base64.b64encode(bytes.fromhex(HEX)).decode()}, None),
            ({"sha256": "no digest at all"}, None),
            ({"size_bytes": len(PICTURE) + 1}, FAILED),
            ({"size_bytes": 1}, FAILED),
            ({"sha256": "0" * 64}, FAILED),
            ({"sha256": base64.b64encode(bytes(32)).decode()}, FAILED),
            ({"size_bytes": 2**39}, Reason.TOO_LARGE),
        ],
    )
    def test_the_file_is_the_one_that_was_announced(
        self, desk: Desk, host: FakeFiles, announced: dict[str, Any], reason: Reason | None
    ) -> None:
        host.has(self.NAME, File(PICTURE))
        if reason is None:
            assert desk.fetch(WAHA, host.url, url=self.URL, **announced) == PICTURE
        else:
            assert desk.refuses(WAHA, host.url, url=self.URL, **announced) is reason

    def test_what_says_itself_that_it_is_too_large_is_not_even_asked_for(
        self, desk: Desk, host: FakeFiles
    ) -> None:
        reason = desk.refuses(WAHA, host.url, url=self.URL, size_bytes=MB + 1)
        assert (reason, host.asked) == (Reason.TOO_LARGE, [])

    @pytest.mark.parametrize(
        "file",
        [
            File(PICTURE, length=len(PICTURE) + 100),
            File(PICTURE, kind="break"),
            File(PICTURE, length=5),
        ],
    )
    def test_a_length_that_is_no_true_one_gives_no_file(
        self, desk: Desk, host: FakeFiles, file: File
    ) -> None:
        host.has(self.NAME, file)
        reason = desk.refuses(WAHA, host.url, url=self.URL, size_bytes=len(PICTURE))
        assert reason is FAILED

    def test_a_file_without_end_is_cut_off_while_it_streams(
        self, desk: Desk, host: FakeFiles
    ) -> None:
        host.has(self.NAME, File(kind="endless"))
        assert desk.refuses(WAHA, host.url, url=self.URL) is Reason.TOO_LARGE
        assert host.written_bytes < 16 * MB

    @pytest.mark.parametrize("kind", ["hang", "drip"])
    def test_a_gateway_that_drips_or_says_nothing_is_given_up(
        self, desk: Desk, host: FakeFiles, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setattr(media_fetch, "TOTAL_TIMEOUT_S", 0.5)
        monkeypatch.setattr(guarded_http, "SILENCE_TIMEOUT_S", 0.3)
        host.has(self.NAME, File(PICTURE, kind=kind))
        assert desk.refuses(WAHA, host.url, url=self.URL) is Reason.GATEWAY_SLOW

    def test_what_is_compressed_is_not_unpacked(self, desk: Desk, host: FakeFiles) -> None:
        host.has(self.NAME, File(b"\x1f\x8b" + bytes(100), headers={"Content-Encoding": "gzip"}))
        assert desk.refuses(WAHA, host.url, url=self.URL) is FAILED
        assert host.requests[0].headers["accept-encoding"] == "identity"

    def test_no_proxy_of_the_environment_hears_of_it(
        self, desk: Desk, host: FakeFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FakeFiles() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            host.has(self.NAME, File(PICTURE))
            assert desk.fetch(WAHA, host.url, url=self.URL) == PICTURE
            assert proxy.asked == []
