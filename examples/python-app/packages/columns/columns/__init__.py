"""Lays out rows of text in columns."""


def layout(rows):
    """Returns one line a row, each column as wide as its widest cell; numbers stand on the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    return [
        "  ".join(
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(row, widths)
        ).rstrip()
        for row in rows
    ]
