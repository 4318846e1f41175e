"""What stands before a real server: nginx, with TLS and HTTP/2, and connections that it ends now and then."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import trustme

__all__ = ["HOW_TO_INSTALL", "TlsProxy", "is_installed", "tls_proxy"]

HOW_TO_INSTALL = "apt-get install nginx-light"

_STREAMS = 128
_REQUESTS = 5000
"""After so many a connection ends, with a GOAWAY."""
_DESCRIPTORS = 16_384
_START_TIMEOUT = 10.0
_END_TIMEOUT = 5.0
_LOG_FLUSHED = 0.3
"""Seconds until the last line is in the log, which is written a buffer at a time."""

# A single process, which neither needs root nor gives up what root started it with.
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors warn;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format line escape=json
        '{{"connection": $connection, "requests": $connection_requests, "status": $status,'
        ' "protocol": "$server_protocol", "path": "$uri"}}';
    access_log {folder}/log line buffer=64k flush={flush}ms;
    upstream api {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/certificate.pem;
        http2_max_concurrent_streams {streams};
        keepalive_requests {requests};
        keepalive_timeout 60s;
        client_max_body_size 64m;
        client_body_buffer_size 256k;
        location / {{
            proxy_pass http://api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffers 16 64k;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


class Traffic(NamedTuple):
    """What passed in some time."""

    connections: int
    requests: int
    protocols: list[str]
    ended: int
    """How many connections had all the requests that one may have."""
    errors: int
    """Answers with a status of 500 or above: the proxy could not reach the server."""


class TlsProxy:
    """A running nginx. Do not construct it: see `tls_proxy`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.base_url = f"https://127.0.0.1:{port}"
        self.authority = folder / "authority.pem"
        """The certificate to trust, for `SSL_CERT_FILE`."""
        self._log = folder / "log"
        self._read = 0

    def traffic(self) -> Traffic:
        """What has passed since the last call, or since the start."""
        time.sleep(_LOG_FLUSHED)
        with self._log.open() as log:
            log.seek(self._read)
            lines = [json.loads(line) for line in log]
            self._read = log.tell()
        most: dict[int, int] = {}
        for line in lines:
            most[line["connection"]] = max(most.get(line["connection"], 0), line["requests"])
        return Traffic(
            connections=len(most),
            requests=len(lines),
            protocols=sorted({line["protocol"] for line in lines}),
            ended=sum(requests >= _REQUESTS for requests in most.values()),
            errors=sum(line["status"] >= 500 for line in lines),
        )


def is_installed() -> bool:
    return _nginx() is not None


def _nginx() -> str | None:
    # Debian has it where only root looks.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def tls_proxy(url: str) -> Iterator[TlsProxy]:
    """nginx before the server at `url`, in a folder of its own; both are gone in the end."""
    nginx = _nginx()
    assert nginx is not None, f"nginx is not installed: {HOW_TO_INSTALL}"
    with tempfile.TemporaryDirectory(prefix="tls-proxy-") as name:
        folder, port = Path(name), _unused_port()
        _write_certificates(folder)
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=folder,
                port=port,
                upstream=urlsplit(url).netloc,
                connections=_DESCRIPTORS // 2,
                streams=_STREAMS,
                requests=_REQUESTS,
                flush=int(_LOG_FLUSHED / 2 * 1000),
            )
        )
        command = [nginx, "-p", name, "-c", str(configuration), "-e", str(folder / "errors")]
        # Its standard error has what goes wrong before it knows where its log is.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _allow_many_descriptors(process.pid)
            _wait_until_it_listens(process, port, folder / "errors")
            yield TlsProxy(folder, port)
        finally:
            _end(process)


def _write_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    pem = authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem
    pem.write_to_path(folder / "certificate.pem")


def _allow_many_descriptors(pid: int) -> None:
    """A connection for each request under way on either side, where the system lets us."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    said = errors.read_text().strip() if errors.exists() else "it said nothing"
    raise RuntimeError(f"nginx does not listen: {said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
