# gate.py
#	  TCP gates: ports that lead to a server's port, and can be held, cut and
#	  opened while connections wait in front of them.
#
# One command a line on standard input, one JSON object a line for an answer;
# it ends with its standard input.
#
#	  {"do": "listen", "upstream": PORT}    a new gate, open; answers {"port": N}
#	  {"do": "hold", "port": N, "after": K} the next K connections pass, those after them wait; K may be left out
#	  {"do": "wait", "port": N, "timeout": S}  until a connection waits; answers {"reached": true or false}
#	  {"do": "cut", "port": N}              every connection is reset, and so is each new one, at once
#	  {"do": "open", "port": N}             those that wait go on, new ones pass
#	  {"do": "lead", "port": N, "upstream": PORT}  where new connections are led to
#
# A connection that was held when its gate is cut is reset, too.

import asyncio
import json
import socket
import struct
import sys


class Gate:
    def __init__(self, upstream):
        self.upstream = upstream
        self.cut = False
        self.passes = None  # how many connections pass before others wait; None: all
        self.waiting = 0
        self.changed = asyncio.Condition()
        self.writers = set()

    async def listen(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0, backlog=256)
        return self.server.sockets[0].getsockname()[1]

    async def change(self):
        async with self.changed:
            self.changed.notify_all()

    async def may_pass(self):
        if self.passes is None:
            return
        if self.passes > 0:
            self.passes -= 1
            return
        self.waiting += 1
        await self.change()
        async with self.changed:
            await self.changed.wait_for(lambda: self.passes is None or self.cut)
        self.waiting -= 1

    async def accept(self, reader, writer):
        self.writers.add(writer)
        try:
            if not self.cut:
                await self.may_pass()
            if self.cut:
                reset(writer)
                return
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            self.writers.add(server_writer)
            try:
                await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))
            finally:
                self.writers.discard(server_writer)
                server_writer.close()
        except OSError:
            pass
        finally:
            self.writers.discard(writer)
            writer.close()


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


gates = {}


async def command(do, port=None, upstream=None, after=0, timeout=None):
    gate = gates.get(port)
    if do == "listen":
        gate = Gate(upstream)
        number = await gate.listen()
        gates[number] = gate
        return {"port": number}
    if do == "wait":
        try:
            async with gate.changed:
                await asyncio.wait_for(gate.changed.wait_for(lambda: gate.waiting > 0), timeout)
            return {"reached": True}
        except asyncio.TimeoutError:
            return {"reached": False}
    if do == "lead":
        gate.upstream = upstream
    elif do == "hold":
        gate.passes = after
    elif do == "cut":
        gate.cut = True
        for writer in list(gate.writers):
            reset(writer)
    elif do == "open":
        gate.cut = False
        gate.passes = None
    else:
        raise ValueError(do)
    await gate.change()
    return {}


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await command(**json.loads(line))), flush=True)


asyncio.run(main())
