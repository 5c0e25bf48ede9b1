"""An HTTP server on 127.0.0.1 that serves files in ranges, and drops connections when it is told to."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves `files` (path -> bytes).

    Attributes:
        url: Its address.
        files: What it serves.
        drop_after: Bytes of a body after which the next connections are cut, one entry per connection.
        etag: The validator it sends; None for none.
        pause: Seconds to wait before each thousand bytes.
        asked: The `Range` headers of the requests, None where there was none.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.drop_after, self.etag, self.pause = files, [], '"1"', 0.0
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        body = self.files.get(handler.path)
        if body is None:
            handler.send_error(404)
            return
        same = handler.headers.get("If-Range") == self.etag
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and same else 0
        if start >= len(body) > 0:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.etag is not None:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        limit = self.drop_after.pop(0) if self.drop_after else len(body)
        sent = body[start : start + limit]
        for i in range(0, len(sent), 1000) if self.pause else ():
            time.sleep(self.pause)
            handler.wfile.write(sent[i : i + 1000])
        handler.wfile.write(b"" if self.pause else sent)
        handler.wfile.flush()
        if limit < len(body) - start:
            handler.connection.close()

    def stop(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()
