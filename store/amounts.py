"""Sizes and times as people say them: three figures, and a unit that suits."""

from collections.abc import Sequence

_SECONDS_AT_MOST = 99.5
_MINUTES_AT_MOST = 99.5


def size_text(num_bytes: float) -> str:
    """What lies on a disk, in decimal units.

    >>> size_text(12), size_text(196_608), size_text(999_900), size_text(31_000_000), size_text(5_900_000_000)
    ('12 B', '197 kB', '1 MB', '31 MB', '5.9 GB')
    """
    return _scaled(num_bytes, base=1000, units=("B", "kB", "MB", "GB", "TB", "PB"))


def memory_text(num_bytes: float) -> str:
    """What memory holds, in binary units, as options that limit it have them.

    >>> memory_text(219_000), memory_text(40 << 30), memory_text(1.5 * 2**40)
    ('214 KiB', '40 GiB', '1.5 TiB')
    """
    return _scaled(num_bytes, base=1024, units=("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def time_text(seconds: float) -> str:
    """A time that something takes.

    >>> time_text(0.004), time_text(2.35), time_text(40), time_text(720), time_text(12_672), time_text(864_000)
    ('0.0 s', '2.4 s', '40 s', '12 min', '3.5 hours', '240 hours')
    """
    if seconds < _SECONDS_AT_MOST:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 60 * _MINUTES_AT_MOST:
        return f"{seconds / 60:.1f} min" if seconds < 60 * 9.95 else f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 99.5 else f"{hours:.0f} hours"


def rate_text(per_second: float) -> str:
    """How many of something a second.

    >>> rate_text(0.44), rate_text(41.3)
    ('0.4', '41')
    """
    return f"{per_second:.1f}" if per_second < 9.95 else f"{per_second:.0f}"


def _scaled(number: float, *, base: int, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        if abs(number) < 999.5:
            return _figures(number, unit)
        number /= base
    return _figures(number, units[-1])


def _figures(number: float, unit: str) -> str:
    return f"{number:.3g} {unit}" if abs(number) < 99.5 else f"{number:.0f} {unit}"
