"""An HTTP proxy that knows CONNECT, for the tests of proxies.

    proxy.py PORT-FILE LOG-FILE MODE-FILE TARGET-PORT [CERTIFICATE KEY]

Listens at a free port of 127.0.0.1, which it writes to PORT-FILE; with CERTIFICATE and KEY it speaks TLS. Whatever host a client
asks for, it is connected to 127.0.0.1:TARGET-PORT. Every CONNECT goes to LOG-FILE, a line of JSON each: target and headers.

MODE-FILE is read for each connection; the first word: ok, login (the second word is what Proxy-Authorization has to be, without
"Basic "), status (the second word is the answer's), hang, garbage, cut, half (cut after the first byte of the tunnel's answer).

Ends with its standard input.
"""

import json
import os
import select
import socket
import ssl
import sys
import threading

port_file, log_file, mode_file, target_port = sys.argv[1:5]
lock = threading.Lock()


def read_head(client):
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            return None
        head += more
    return head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")


def record(target, headers):
    with lock, open(log_file, "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"target": target, "headers": headers}) + "\n")


def relay(client, half):
    server = socket.create_connection(("127.0.0.1", int(target_port)))
    with server:
        while True:
            # what TLS has deciphered already, select() does not see
            pending = isinstance(client, ssl.SSLSocket) and client.pending()
            readable = [client] if pending else select.select([client, server], [], [])[0]
            for one in readable:
                data = one.recv(65536)
                if not data:
                    return
                other = server if one is client else client
                other.sendall(data[:1] if half and other is client else data)
                if half and other is client:
                    return


def serve(client, context):
    try:
        if context is not None:
            client = context.wrap_socket(client, server_side=True)
        with client:
            with open(mode_file, encoding="utf-8") as stream:
                mode = stream.read().split()
            lines = read_head(client)
            if lines is None:
                return
            headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
            method, target, _ = lines[0].split(" ")
            record(f"{method} {target}", headers)
            if mode[0] == "hang":
                client.recv(1)
            elif mode[0] == "garbage":
                client.sendall(b"\x15\x03\x01 what?\r\n\r\n")
            elif mode[0] == "status":
                client.sendall(f"HTTP/1.1 {mode[1]} No\r\nContent-Length: 2\r\n\r\nno".encode())
            elif mode[0] == "login" and headers.get("proxy-authorization") != f"Basic {mode[1]}":
                client.sendall(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
            elif mode[0] != "cut":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                relay(client, mode[0] == "half")
    except OSError:
        pass


def accept(listener, context):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, context), daemon=True).start()


tls = None
if len(sys.argv) > 5:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[5], sys.argv[6])
listening = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=(listening, tls), daemon=True).start()
with open(port_file + ".new", "w", encoding="utf-8") as out:
    out.write(str(listening.getsockname()[1]))
os.rename(port_file + ".new", port_file)
sys.stdin.read()
