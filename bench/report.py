"""Samples, what is printed of them, and the machine they were taken on."""

import os
import platform
import statistics


class Samples:
    """Values by name, one each a repetition."""

    def __init__(self):
        self._values = {}

    def add(self, name, value):
        self._values.setdefault(name, []).append(value)

    def line(self, name, label, unit="ms", digits=1):
        """Median, and between what lies the middle eight tenths."""
        values = sorted(self._values[name])
        tenth = len(values) // 10
        low, high = values[tenth], values[-1 - tenth]
        median = statistics.median(values)
        print("  %-50s %9.*f %9.*f %9.*f %s" % (label, digits, median, digits, low, digits, high, unit))

    def ratio(self, over, under, label):
        """The median of the repetitions' own ratios: what slows one slows both."""
        pairs = zip(self._values[over], self._values[under])
        print("  %-50s %9.2f" % (label, statistics.median(a / b for a, b in pairs)))

    def distinct(self, name):
        return sorted(set(self._values[name]))


def heading(text):
    print("\n%-52s %9s %9s %9s" % (text, "median", "10 %", "90 %"))


def _first(path, prefix):
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith(prefix):
                    return line[len(prefix):].strip(' \t\n:="')
    except OSError:
        pass
    return "unknown"


def machine():
    """Lines that tell one machine's results from another's."""
    memory = _first("/proc/meminfo", "MemTotal")
    return ["%s, %d cores, %.0f GB, load %.1f at the start" % (
        _first("/proc/cpuinfo", "model name"), os.cpu_count(),
        int(memory.split()[0]) / 1024 / 1024, os.getloadavg()[0]),
            "%s, Linux %s, %s" % (_first("/etc/os-release", "PRETTY_NAME"), platform.release(),
                                  platform.machine())]
