"""What was asked, when, over which connection, and what overlapped.

Values never get in: of a SecretString the SHA-256 and the length.
"""

import hashlib
import threading
import time


def _shown(name, value):
    if name in ("SecretString", "SecretBinary"):
        data = value.encode() if isinstance(value, str) else value
        return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return value


class Entry:
    def __init__(self, seq, connection, number):
        self.seq = seq
        self.connection = connection
        self.request_on_connection = number
        self.time = time.time()
        self.started = time.monotonic()
        self.ended = None
        self.operation = None
        self.parameters = {}
        self.access_key_id = None
        self.user_agent = None
        self.status = None
        self.error = None
        self.effect = False
        self.faults = []
        self.answered = False

    def set_parameters(self, parameters):
        self.parameters = {name: _shown(name, value) for name, value in parameters.items()}

    def dump(self, entries):
        shown = dict(vars(self))
        shown["concurrent_with"] = [other.seq for other in entries
                                    if other is not self and overlap(self, other)]
        return shown


def overlap(one, other):
    one_end = one.ended if one.ended is not None else float("inf")
    other_end = other.ended if other.ended is not None else float("inf")
    return one.started < other_end and other.started < one_end


def round_trips(entries):
    """The longest chain of requests each begun after the one before had ended."""
    count, last_end = 0, float("-inf")
    for entry in sorted(entries, key=lambda item: item.ended or float("inf")):
        if entry.started >= last_end:
            count += 1
            last_end = entry.ended if entry.ended is not None else float("inf")
    return count


class Journal:
    def __init__(self):
        self._changed = threading.Condition()
        self._seq = 0
        self._connections = 0
        self.entries = []
        self.connections = []

    def connect(self, listener, tls):
        with self._changed:
            self._connections += 1
            record = {"id": self._connections, "listener": listener, "tls": tls,
                      "opened": time.monotonic(), "closed": None, "requests": 0}
            self.connections.append(record)
            return record

    def disconnect(self, record):
        with self._changed:
            record["closed"] = time.monotonic()
            self._changed.notify_all()

    def begin(self, connection):
        with self._changed:
            self._seq += 1
            connection["requests"] += 1
            entry = Entry(self._seq, connection["id"], connection["requests"])
            self.entries.append(entry)
            return entry

    def route(self, entry, operation):
        with self._changed:
            entry.operation = operation
            self._changed.notify_all()

    def end(self, entry):
        with self._changed:
            entry.ended = time.monotonic()
            self._changed.notify_all()

    def clear(self):
        with self._changed:
            self.entries = []
            self.connections = [record for record in self.connections if record["closed"] is None]

    def select(self, operation=None, since=0):
        with self._changed:
            return [entry for entry in self.entries if entry.seq > since
                    and (operation is None or entry.operation == operation)]

    def dump(self, operation=None, since=0):
        with self._changed:
            entries = self.select(operation, since)
            counts = {}
            for entry in entries:
                counts[entry.operation or "(none)"] = counts.get(entry.operation or "(none)", 0) + 1
            used = {entry.connection for entry in entries}
            return {"count": len(entries), "operations": counts,
                    "round_trips": round_trips(entries), "connection_count": len(used),
                    "entries": [entry.dump(entries) for entry in entries],
                    "connections": [dict(record) for record in self.connections]}

    def wait(self, operation, count, ended, timeout):
        """Until so many requests (finished ones, if asked) are there; False at the timeout."""
        def there():
            found = [entry for entry in self.select(operation)
                     if entry.ended is not None or not ended]
            return len(found) >= count
        with self._changed:
            return self._changed.wait_for(there, timeout)
