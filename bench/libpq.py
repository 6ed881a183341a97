"""As much of libpq as the benchmark needs, by ctypes: no driver stands between
the clock and the login.
"""

import ctypes
import time

_pq = ctypes.CDLL("libpq.so.5")
_CONNECTION_OK = 0
_TUPLES_OK = 2


def _declare(name, result, *arguments):
    function = getattr(_pq, name)
    function.restype, function.argtypes = result, arguments


_declare("PQconnectdbParams", ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p),
         ctypes.POINTER(ctypes.c_char_p), ctypes.c_int)
_declare("PQstatus", ctypes.c_int, ctypes.c_void_p)
_declare("PQerrorMessage", ctypes.c_char_p, ctypes.c_void_p)
_declare("PQfinish", None, ctypes.c_void_p)
_declare("PQexec", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_declare("PQresultStatus", ctypes.c_int, ctypes.c_void_p)
_declare("PQresultErrorMessage", ctypes.c_char_p, ctypes.c_void_p)
_declare("PQntuples", ctypes.c_int, ctypes.c_void_p)
_declare("PQnfields", ctypes.c_int, ctypes.c_void_p)
_declare("PQfname", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
_declare("PQgetisnull", ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_declare("PQgetvalue", ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_declare("PQclear", None, ctypes.c_void_p)
_declare("PQlibVersion", ctypes.c_int)


class Error(Exception):
    """libpq's or the server's message."""


def version():
    number = _pq.PQlibVersion()
    return "%d.%d" % (number // 10000, number % 10000)


class Connection:
    """One session; `seconds` is how long it took to be logged in."""

    def __init__(self, **parameters):
        names = [name.encode() for name in parameters] + [None]
        values = [str(value).encode() for value in parameters.values()] + [None]
        array = ctypes.c_char_p * len(names)
        begun = time.monotonic()
        self._conn = _pq.PQconnectdbParams(array(*names), array(*values), 0)
        self.seconds = time.monotonic() - begun
        if _pq.PQstatus(self._conn) != _CONNECTION_OK:
            message = _pq.PQerrorMessage(self._conn).decode().strip()
            self.close()
            raise Error(message)

    def rows(self, statement):
        """The rows of a query, each a dict of texts and None."""
        result = _pq.PQexec(self._conn, statement.encode())
        try:
            if _pq.PQresultStatus(result) != _TUPLES_OK:
                raise Error(_pq.PQresultErrorMessage(result).decode().strip())
            fields = [_pq.PQfname(result, n).decode() for n in range(_pq.PQnfields(result))]
            return [{field: None if _pq.PQgetisnull(result, row, n)
                     else _pq.PQgetvalue(result, row, n).decode()
                     for n, field in enumerate(fields)}
                    for row in range(_pq.PQntuples(result))]
        finally:
            _pq.PQclear(result)

    def close(self):
        _pq.PQfinish(self._conn)
        self._conn = None
