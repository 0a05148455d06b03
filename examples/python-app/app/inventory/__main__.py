"""Prints the stock in a CSV file with columns name, quantity and price."""

import csv
import sys

import columns
import money


def main(path):
    rows, total = [("name", "quantity", "price", "worth")], 0
    with open(path, newline="") as stock:
        for item in csv.DictReader(stock):
            worth = int(item["quantity"]) * money.parse(item["price"])
            total += worth
            rows.append((item["name"], item["quantity"], item["price"], money.show(worth)))
    rows.append(("total", "", "", money.show(total)))
    print("\n".join(columns.layout(rows)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "stock.csv")
