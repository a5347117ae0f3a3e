"""Files from a real server on this machine, whole or not at all."""

import functools
import http.server
import threading

import pytest

from cvae_jax.data import download
from cvae_jax.errors import UserError

CONTENT = bytes(range(256)) * 4000


class _Server(http.server.BaseHTTPRequestHandler):
    """/whole, /short (ends before what it promised), everything else is not found."""

    def do_GET(self):
        if self.path not in ("/whole", "/short"):
            self.send_error(404)
            return
        self.server.num_answered += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[:-1])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        server.num_answered = 0
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _url(server, path):
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "downloads" / "file"
    download.fetch(_url(server, "whole"), path)
    download.fetch(_url(server, "whole"), path)
    assert path.read_bytes() == CONTENT
    assert server.num_answered == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "told"), [("short", "of 1024000 bytes came"), ("none", "404"), (None, "fetch")]
)
def test_a_file_that_does_not_come_leaves_nothing(server, tmp_path, name, told):
    url = _url(server, name) if name else "http://127.0.0.1:9/nobody"
    with pytest.raises(UserError, match=told) as error:
        download.fetch(url, tmp_path / "file")
    assert "\n" not in str(error.value)
    assert url in str(error.value)
    assert list(tmp_path.iterdir()) == []
