"""HTTP/1.1 servers on loopback: keep-alive, a thread a connection, TLS if asked."""

import http.server
import socket
import socketserver
import ssl
import threading

HANDSHAKE_TIMEOUT = 10


def tls_context(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, handler, port=0, context=None, name=""):
        self.context = context
        self.name = name
        self._open = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), handler)

    @property
    def port(self):
        return self.server_address[1]

    def start(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1},
                         daemon=True).start()
        return self

    def finish_request(self, request, client_address):
        # in the connection's own thread: a client that is slow to shake hands stops nobody
        if self.context is not None:
            request.settimeout(HANDSHAKE_TIMEOUT)
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                self.handshake_failed()
                return
            request.settimeout(None)
        with self._lock:
            self._open.add(request)
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass        # the client went away
        finally:
            with self._lock:
                self._open.discard(request)
            request.close()

    def handshake_failed(self):
        """Something connected and did not get as far as HTTP."""

    def drop_connections(self):
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            drop(connection)
        return len(connections)


def drop(connection, reset=False):
    """Close now, whoever else holds the socket; with a RST if asked."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if isinstance(connection, ssl.SSLSocket):
            socket.close(connection.detach())
        else:
            socket.close(connection.detach())
        return
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection.  Subclasses implement exchange() for one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    max_body = 16 * 1024 * 1024

    def handle_one_request(self):
        try:
            self.raw_requestline = self.rfile.readline(65537)
        except OSError:
            self.raw_requestline = b""
        if not self.raw_requestline:
            self.close_connection = True
            return
        self.arrived()
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
            return
        if self.parse_request():
            self.exchange()

    def arrived(self):
        """The request line has been read."""

    def exchange(self):
        raise NotImplementedError

    def read_body(self):
        """The body by its Content-Length, or None where that is missing or absurd."""
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) != 1 or not lengths[0].isdigit() or int(lengths[0]) > self.max_body:
            return None
        length = int(lengths[0])
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def write(self, status, headers, body):
        reason = self.responses.get(status, ("Unknown",))[0]
        head = ["HTTP/1.1 %d %s" % (status, reason)]
        head += ["%s: %s" % item for item in headers.items()]
        self.wfile.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)

    def log_message(self, format, *args):  # noqa: A002 (the base class's name)
        """Nothing to the standard error; the journal has it."""
