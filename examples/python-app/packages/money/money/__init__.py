"""Amounts of money, counted in hundredths so that sums are exact."""


def parse(text):
    """Returns the hundredths in `text`, such as 2405 for "24.05"."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0")[:2])


def show(hundredths):
    """The opposite of `parse`."""
    return f"{hundredths // 100}.{hundredths % 100:02}"
