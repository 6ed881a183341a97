# stranger.py
#	  A process that is not the server and listens where a login may go.
#
#	  stranger.py MODE ADDRESS PORT RECORD [TARGET]
#
# It answers a startup packet as MODE says and appends every byte that it
# receives to RECORD.  It ends with its standard input.
#
#	  clear, md5, scram, ok, gss, unknown   the authentication request it sends
#	  both          AuthenticationSASL and the request for clear text in one packet
#	  scram_clear   SCRAM first, and for clear text in its second message
#	  short         a request whose length leaves its code out
#	  error         an error that quotes what a server would say
#	  late          clear text after AuthenticationOk
#	  close, hang   as said
#	  relay         hands all on to TARGET, a port of 127.0.0.1, and back

import selectors
import socket
import struct
import sys
import threading

mode, address, port, record_path = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
target = int(sys.argv[5]) if len(sys.argv) > 5 else 0


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


def request(code, body=b""):
    return message(b"R", struct.pack("!I", code) + body)


OK = request(0)
READY = (
    message(b"S", b"server_version\x0015.0\x00")
    + message(b"K", struct.pack("!II", 4711, 815))
    + message(b"Z", b"I")
)
SASL = request(10, b"SCRAM-SHA-256\x00\x00")
REQUESTS = {
    "clear": request(3),
    "md5": request(5, b"salt"),
    "scram": SASL,
    "scram_clear": SASL,
    "gss": request(7),
    "unknown": request(4242),
    "both": SASL + request(3),
    "short": b"R" + struct.pack("!I", 4) + struct.pack("!I", 3),
    "ok": OK + READY,
    "late": OK + request(3),
    "error": message(b"E", b"SFATAL\x00VFATAL\x00C28P01\x00Mpassword authentication failed for user \"app\"\x00\x00"),
}


def receive(connection):
    data = connection.recv(65536)
    record.write(data)
    return data


def relay(connection):
    server = socket.create_connection(("127.0.0.1", target))
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ, server)
    selector.register(server, selectors.EVENT_READ, connection)
    while True:
        for key, _ in selector.select():
            data = receive(connection) if key.fileobj is connection else server.recv(65536)
            if not data:
                server.close()
                return
            key.data.sendall(data)


def serve(connection):
    if mode == "relay":
        relay(connection)
        return
    data = receive(connection)
    while data[4:8] in (struct.pack("!I", 80877103), struct.pack("!I", 80877104)):
        connection.sendall(b"N")  # no TLS, no GSSAPI
        data = receive(connection)
    if not data or mode == "close":
        return
    if mode != "hang":
        connection.sendall(REQUESTS[mode])
    first = True
    while receive(connection):
        if mode == "scram_clear" and first:
            connection.sendall(request(3))
        elif mode == "ok":
            # whatever was asked: one row that nobody can have expected
            connection.sendall(
                message(b"T", struct.pack("!H", 1) + b"x\x00" + struct.pack("!IHIhIH", 0, 0, 25, -1, 0xFFFFFFFF, 0))
                + message(b"D", struct.pack("!HI", 1, 1) + b"x")
                + message(b"C", b"SELECT 1\x00")
                + message(b"Z", b"I")
            )
        first = False


def handle(connection):
    try:
        serve(connection)
    except OSError:
        pass
    finally:
        connection.close()


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, port))
listener.listen()
record = open(record_path, "ab", buffering=0)  # its being there says that we listen
threading.Thread(target=accept, args=(listener,), daemon=True).start()
sys.stdin.read()
